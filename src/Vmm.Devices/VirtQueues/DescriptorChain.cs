namespace Vmm.Devices;

/// <summary>
/// One request: a device-readable part followed by a device-writable one, each in any number of buffers. Pooled by its queue; valid from
/// pop to push, on the queue's thread. It keeps the guest memory under its buffers mapped.
/// </summary>
public sealed class DescriptorChain
{
    private const int FirstSegments = 4;

    /// <summary>
    /// Most pieces of host memory: as many as descriptors, and one more for each border between regions. Only buffers that overlap, over
    /// regions of a few bytes, have more.
    /// </summary>
    internal const int SegmentsMax = VirtQueue.ChainDescriptorsMax + GuestMemory.RegionsMax;

    /// <summary>Descriptors that cost as much of a turn as a chain does.</summary>
    private const uint WeightUnit = 16;

    private GuestSpan[] _segments = new GuestSpan[FirstSegments];
    private Request _request;

    internal DescriptorChain(VirtQueue queue) => Queue = queue;

    /// <summary>The queue it came from.</summary>
    public VirtQueue Queue { get; }

    /// <summary>What names it in its ring while it is in flight: the head descriptor (split) or the buffer id (packed).</summary>
    public ushort Id { get; internal set; }

    /// <summary>Bytes the device may read. At most 2^32 together with the writable ones.</summary>
    public ulong ReadableLength => _request.ReadableLength;

    /// <summary>Bytes the device may write.</summary>
    public ulong WritableLength => _request.WritableLength;

    /// <summary>
    /// When the batch it was popped in began, in ticks of <see cref="System.Diagnostics.Stopwatch"/>; 0 if the queue does not measure
    /// latency.
    /// </summary>
    public long PoppedAt { get; internal set; }

    /// <summary>What kind of request it is, so that latencies are kept apart; 0 until its device knows.</summary>
    internal byte Kind
    {
        get => _request.Kind;
        set => _request.Kind = value;
    }

    /// <summary>A cursor at the start of the device-readable part.</summary>
    public ChainReader Readable => new(_segments.AsSpan(0, _request.ReadableCount), ReadableLength);

    /// <summary>A cursor at the start of the device-writable part.</summary>
    public ChainWriter Writable => new(WritableSpans, WritableLength);

    /// <summary>Pieces of host memory the readable part consists of: how many vectors it needs at most.</summary>
    public int ReadableSegments => _request.ReadableCount;

    /// <summary>Pieces of host memory the writable part consists of.</summary>
    public int WritableSegments => _request.Count - _request.ReadableCount;

    /// <summary>The memory state it was popped under last.</summary>
    internal MemoryHold? Hold { get; set; }

    /// <summary>Whether it was popped and not pushed yet.</summary>
    internal bool IsInFlight { get; set; }

    /// <summary>Ring descriptors it took; packed rings skip that many when it is used.</summary>
    internal ushort RingDescriptors
    {
        get => _request.RingDescriptors;
        set => _request.RingDescriptors = value;
    }

    /// <summary>Its name in a packed ring's in-flight log, if there is one.</summary>
    internal ushort LogEntry { get; set; }

    /// <summary>Whether a process before this one took it from the driver.</summary>
    internal bool IsRetaken
    {
        get => _request.IsRetaken;
        set => _request.IsRetaken = value;
    }

    /// <summary>Pieces of host memory.</summary>
    internal int Segments => _request.Count;

    /// <summary>What it costs of a turn's budget: 1 for the few buffers that requests usually have, more for many.</summary>
    internal int Cost
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 1 + (int)((uint)(_request.Count + _request.Weight) / WeightUnit);
    }

    /// <summary>Room for pieces beyond the first few.</summary>
    internal int GrownBy => _segments.Length - FirstSegments;

    internal ReadOnlySpan<GuestSpan> WritableSpans => _segments.AsSpan(_request.ReadableCount, WritableSegments);

    /// <summary>Room for pieces; a walk fills it from the start, and says with <see cref="Finish"/> how much it filled.</summary>
    internal GuestSpan[] Room => _segments;

    /// <summary>Forgets the request, so that what still uses the chain finds no bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Clear() => _request = default;

    /// <summary>Gives the room beyond the first few pieces back. Only of a chain that is empty.</summary>
    internal void Shrink() => _segments = new GuestSpan[FirstSegments];

    /// <summary>Makes room for more pieces than there is.</summary>
    /// <returns>False if there is room for as many as a chain may have.</returns>
    internal bool TryGrow()
    {
        if (_segments.Length == SegmentsMax) return false;
        int before = GrownBy;
        Array.Resize(ref _segments, Math.Min(_segments.Length * 2, SegmentsMax));
        Queue.CountGrown(GrownBy - before);
        return true;
    }

    /// <summary>A descriptor was walked and added no piece: it costs its walk all the same.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void AddWeight() => _request.Weight++;

    /// <summary>
    /// The walk is over: pieces in <see cref="Room"/>, of which the device may read the first and write the others, and their bytes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Finish(int count, int readableCount, ulong readable, ulong writable)
    {
        _request.ReadableLength = readable;
        _request.WritableLength = writable;
        _request.Count = count;
        _request.ReadableCount = readableCount;
    }

    /// <summary>
    /// Fills an empty chain of one buffer that lies in one region, as most chains of a network card are: all a walk does, at once.
    /// </summary>
    /// <returns>False, and nothing is changed, if the buffer is not like that: then it is walked.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryFillWithOne(in GuestExtent near, ulong address, uint length, bool isWritable)
    {
        ulong offset = address - near.Start;
        // No bytes are one less than 0 here: more than any region has.
        if (offset >= near.Length || (ulong)length - 1 >= near.Length - offset) return false;
        _segments[0] = new GuestSpan(address, near.HostOf(address), length);
        if (isWritable) Finish(1, 0, 0, length);
        else Finish(1, 1, length, 0);
        return true;
    }

    /// <summary>What is known of the request that the chain is now: together, so that a store or two forget all of it.</summary>
    private struct Request
    {
        internal ulong ReadableLength, WritableLength;
        internal int Count, ReadableCount;
        /// <summary>Descriptors that were walked and added no piece.</summary>
        internal int Weight;
        internal ushort RingDescriptors;
        internal byte Kind;
        internal bool IsRetaken;
    }
}
