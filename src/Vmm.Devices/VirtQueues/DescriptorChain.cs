using System.Runtime.CompilerServices;

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
    private const int WeightUnit = 16;

    private GuestSpan[] _segments = new GuestSpan[FirstSegments];
    private int _count;
    private int _readableCount;

    internal DescriptorChain(VirtQueue queue) => Queue = queue;

    /// <summary>The queue it came from.</summary>
    public VirtQueue Queue { get; }

    /// <summary>What names it in its ring while it is in flight: the head descriptor (split) or the buffer id (packed).</summary>
    public ushort Id { get; internal set; }

    /// <summary>Bytes the device may read. At most 2^32 together with the writable ones.</summary>
    public ulong ReadableLength { get; private set; }

    /// <summary>Bytes the device may write.</summary>
    public ulong WritableLength { get; private set; }

    /// <summary>
    /// When the batch it was popped in began, in ticks of <see cref="System.Diagnostics.Stopwatch"/>; 0 if the queue does not measure
    /// latency.
    /// </summary>
    public long PoppedAt { get; internal set; }

    /// <summary>What kind of request it is, so that latencies are kept apart; 0 until its device knows.</summary>
    internal byte Kind { get; set; }

    /// <summary>A cursor at the start of the device-readable part.</summary>
    public ChainReader Readable => new(_segments.AsSpan(0, _readableCount), ReadableLength);

    /// <summary>A cursor at the start of the device-writable part.</summary>
    public ChainWriter Writable => new(_segments.AsSpan(_readableCount, _count - _readableCount), WritableLength);

    /// <summary>Pieces of host memory the readable part consists of: how many vectors it needs at most.</summary>
    public int ReadableSegments => _readableCount;

    /// <summary>Pieces of host memory the writable part consists of.</summary>
    public int WritableSegments => _count - _readableCount;

    /// <summary>The memory state it was popped under; null when it is not in flight.</summary>
    internal MemoryHold? Hold { get; set; }

    /// <summary>Ring descriptors it took; packed rings skip that many when it is used.</summary>
    internal ushort RingDescriptors { get; set; }

    /// <summary>Its name in a packed ring's in-flight log, if there is one.</summary>
    internal ushort LogEntry { get; set; }

    /// <summary>Whether a process before this one took it from the driver.</summary>
    internal bool IsRetaken { get; set; }

    /// <summary>Pieces of host memory.</summary>
    internal int Segments => _count;

    /// <summary>Descriptors that were walked and added no piece.</summary>
    internal int Weight { get; set; }

    /// <summary>What it costs of a turn's budget: 1 for the few buffers that requests usually have, more for many.</summary>
    internal int Cost => 1 + ((_count + Weight) / WeightUnit);

    /// <summary>Room for pieces beyond the first few.</summary>
    internal int GrownBy => _segments.Length - FirstSegments;

    internal ReadOnlySpan<GuestSpan> WritableSpans => _segments.AsSpan(_readableCount, _count - _readableCount);

    internal void Clear()
    {
        _count = 0;
        _readableCount = 0;
        ReadableLength = 0;
        WritableLength = 0;
        Weight = 0;
    }

    /// <summary>Gives the room beyond the first few pieces back. Only of a chain that is empty.</summary>
    internal void Shrink() => _segments = new GuestSpan[FirstSegments];

    /// <summary>Makes the last piece longer: the buffer that follows lies behind it.</summary>
    internal void Extend(ulong length, bool writable)
    {
        ref GuestSpan last = ref _segments[_count - 1];
        last = new GuestSpan(last.Guest, last.Host, last.Length + length);
        if (writable) WritableLength += length;
        else ReadableLength += length;
        Weight++;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void AddReadable(in GuestSpan piece)
    {
        Add(piece);
        _readableCount = _count;
        ReadableLength += piece.Length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void AddWritable(in GuestSpan piece)
    {
        Add(piece);
        WritableLength += piece.Length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Add(in GuestSpan piece)
    {
        if ((uint)_count >= (uint)_segments.Length) Grow();
        _segments[_count++] = piece;
    }

    private void Grow()
    {
        Queue.CountGrown(_segments.Length);
        Array.Resize(ref _segments, _segments.Length * 2);
    }
}
