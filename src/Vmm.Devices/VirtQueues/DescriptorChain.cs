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
    private const uint WeightUnit = 16;

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

    /// <summary>The memory state it was popped under last.</summary>
    internal MemoryHold? Hold { get; set; }

    /// <summary>Whether it was popped and not pushed yet.</summary>
    internal bool IsInFlight { get; set; }

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
    internal int Cost => 1 + (int)((uint)(_count + Weight) / WeightUnit);

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
    internal void Extend(ulong length)
    {
        ref GuestSpan last = ref _segments[_count - 1];
        last = new GuestSpan(last.Guest, last.Host, last.Length + length);
        Weight++;
    }

    /// <summary>What was added so far is the readable part.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void BeginWritable() => _readableCount = _count;

    /// <summary>All pieces were added, writable ones among them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Finish(ulong readable, ulong writable) => (ReadableLength, WritableLength) = (readable, writable);

    /// <summary>All pieces were added, and none is writable.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void FinishReadable(ulong readable)
    {
        _readableCount = _count;
        ReadableLength = readable;
    }

    /// <summary>
    /// Fills an empty chain of one buffer that lies in one region, as most chains of a network card are: all a walk does, at once.
    /// </summary>
    /// <returns>False, and nothing is changed, if the buffer is not like that: then it is walked.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryFillWithOne(MemoryMap map, ref int region, ulong address, uint length, bool writable)
    {
        nint host = map.Translate(address, ref region, out ulong available);
        if (host == 0 || length > available || length == 0) return false;
        _segments[0] = new GuestSpan(address, host, length);
        _count = 1;
        if (writable)
        {
            WritableLength = length;
            return true;
        }
        _readableCount = 1;
        ReadableLength = length;
        return true;
    }

    /// <summary>Adds a piece.</summary>
    /// <returns>False if there are as many as a chain may have.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(in GuestSpan piece)
    {
        GuestSpan[] segments = _segments;
        int count = _count;
        if ((uint)count >= (uint)segments.Length) return TryAddGrown(piece);
        segments[count] = piece;
        _count = count + 1;
        return true;
    }

    private bool TryAddGrown(in GuestSpan piece)
    {
        if (_count == SegmentsMax) return false;
        int before = GrownBy;
        Array.Resize(ref _segments, Math.Min(_segments.Length * 2, SegmentsMax));
        Queue.CountGrown(GrownBy - before);
        _segments[_count++] = piece;
        return true;
    }
}
