using System.Buffers.Binary;
using System.Diagnostics;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One ring of a load: keeps a number of requests in flight, on a thread of its own, as a guest's driver does.</summary>
internal sealed class BlockLoadQueue : IDisposable
{
    private const uint HeaderBytes = 16, TypeIn = 0, TypeOut = 1;
    private const byte StatusOk = 0;

    private readonly BlockLoadOptions _options;
    private readonly BlockPattern? _pattern;
    private readonly BlockCursor _cursor;
    private readonly ReactorThread _thread;
    private readonly GuestMemory _memory;
    private readonly VhostUserRing _ring;
    private readonly Slot[] _slots;
    private readonly Slot?[] _slotOfId;
    private readonly byte[] _header = new byte[HeaderBytes];
    private readonly byte[] _data;
    private TaskCompletionSource? _drained;
    private volatile bool _isRunning;
    private long _sliceOperations;

    /// <param name="index">Of the ring.</param>
    /// <param name="frontend">Memory was shared already.</param>
    /// <param name="memory">The guest's.</param>
    /// <param name="allocator">Where rings and buffers come from.</param>
    /// <param name="options">The load.</param>
    /// <param name="cursor">Which block is next.</param>
    /// <param name="pattern">What is where; null if nothing is verified.</param>
    internal BlockLoadQueue(int index, VhostUserFrontend frontend, GuestMemory memory, GuestAllocator allocator, BlockLoadOptions options,
        BlockCursor cursor, BlockPattern? pattern)
    {
        _options = options;
        _cursor = cursor;
        _pattern = pattern;
        _memory = memory;
        _data = new byte[options.Bytes];
        ushort size = (ushort)Math.Max(16, System.Numerics.BitOperations.RoundUpToPowerOf2((uint)options.Depth));
        DriverQueue queue = DriverQueue.Create(memory, allocator, size, frontend.Features);
        _slotOfId = new Slot?[size];
        _slots = [.. Enumerable.Range(0, options.Depth).Select(_ => new Slot(allocator, options.Bytes))];
        _ring = frontend.StartRing(index, queue);
        _thread = new ReactorThread(new ReactorOptions
        {
            Name = $"load{index}",
            Cpu = index < options.Cpus.Count
            ? options.Cpus[index] : null
        });
        _thread.Start();
        if (options.Poll) queue.DisableInterrupts();
        else _thread.Remote.Invoke(reactor => Interest.Kick.WithFd(_ring.Call.Duplicate())
            .WithHandler(_ => OnCall()).RegisterInto(reactor));
    }

    /// <summary>Requests answered so far. Read it while the queue is idle.</summary>
    internal long Operations { get; private set; }

    /// <summary>Their times. Read it while the queue is idle.</summary>
    internal LatencyHistogram Latency { get; } = new();

    /// <summary>Requests that failed, or whose bytes were not what they must be.</summary>
    internal long Errors { get; private set; }

    /// <summary>Starts to keep requests in flight.</summary>
    internal void Start()
    {
        _sliceOperations = 0;
        _isRunning = true;
        _thread.Remote.Post(_ =>
        {
            foreach (Slot slot in _slots) Submit(slot, Stopwatch.GetTimestamp());
            _ring.PublishAndKick();
            if (_options.Poll) PollUntilStopped(); else OnCall();
        });
    }

    /// <summary>Ends the slice: what is answered from now on does not count.</summary>
    /// <returns>Completes, with what counted, when nothing is in flight.</returns>
    internal async Task<long> StopAsync()
    {
        TaskCompletionSource drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _drained = drained;
        _isRunning = false;
        if (!_options.Poll) _thread.Remote.Post(_ => CheckDrained());
        await drained.Task;
        return _sliceOperations;
    }

    public void Dispose()
    {
        _thread.Dispose();
        _ring.Dispose();
        _ring.Queue.Dispose();
    }

    private void OnCall()
    {
        do Collect();
        while (_ring.Queue.EnableInterrupts());
    }

    private void PollUntilStopped()
    {
        while (_isRunning || _ring.Queue.InFlight > 0)
        {
            if (_ring.Queue.HasUsed) Collect();
            else Thread.SpinWait(1);
        }
        CheckDrained();
    }

    private void Collect()
    {
        long now = Stopwatch.GetTimestamp();
        bool more = false;
        while (_ring.Queue.TryCollect(out UsedChain used))
        {
            Slot slot = _slotOfId[used.Id]!;
            Finish(slot, now);
            if (!_isRunning) continue;
            Submit(slot, now);
            more = true;
        }
        if (more) _ring.PublishAndKick(); else CheckDrained();
    }

    private void CheckDrained()
    {
        if (_isRunning || _ring.Queue.InFlight > 0) return;
        _drained?.TrySetResult();
    }

    private void Finish(Slot slot, long now)
    {
        Span<byte> status = stackalloc byte[1];
        bool isRight = _memory.TryRead(slot.Status, status) && status[0] == StatusOk;
        if (isRight && _pattern is not null) isRight = Verify(slot);
        if (!isRight) Errors++;
        if (!_isRunning) return;
        Latency.Record((long)((now - slot.SubmittedAt) * (1e9 / Stopwatch.Frequency)));
        _sliceOperations++;
        Operations++;
    }

    private bool Verify(Slot slot)
    {
        if (slot.IsWrite)
        {
            _pattern!.Release(slot.Block);
            return true;
        }
        bool isRight = _memory.TryRead(slot.Data, _data) && _pattern!.Matches(slot.Block, _data);
        _pattern!.Release(slot.Block);
        return isRight;
    }

    private void Submit(Slot slot, long now)
    {
        slot.IsWrite = _cursor.NextIsWrite();
        do slot.Block = _cursor.Next();
        while (_pattern is not null && !_pattern.TryClaim(slot.Block));
        if (slot.IsWrite && _pattern is not null)
        {
            _pattern.Stamp(slot.Block, _data);
            _memory.TryWrite(slot.Data, _data);
        }
        BinaryPrimitives.WriteUInt32LittleEndian(_header, slot.IsWrite ? TypeOut : TypeIn);
        BinaryPrimitives.WriteInt64LittleEndian(_header.AsSpan(8), slot.Block * (_options.Bytes / BlockCursor.SectorBytes));
        _memory.TryWrite(slot.Header, _header);
        _memory.TryWrite(slot.Status, [0xff]);
        slot.SubmittedAt = now;
        bool added = slot.IsWrite
            ? _ring.Queue.TryAdd(slot.ReadableOfWrite, slot.WritableOfWrite, out ushort id)
            : _ring.Queue.TryAdd(slot.ReadableOfRead, slot.WritableOfRead, out id);
        if (!added) throw new InvalidOperationException("the ring is full: it has fewer entries than the load has requests");
        _slotOfId[id] = slot;
    }

    /// <summary>The buffers of one request in flight, used again and again.</summary>
    private sealed class Slot
    {
        internal Slot(GuestAllocator allocator, int bytes)
        {
            Header = allocator.Allocate(HeaderBytes);
            Status = allocator.Allocate(1);
            Data = allocator.Allocate((uint)bytes);
            GuestBuffer header = new(Header, HeaderBytes), status = new(Status, 1), data = new(Data, (uint)bytes);
            ReadableOfRead = [header];
            WritableOfRead = [data, status];
            ReadableOfWrite = [header, data];
            WritableOfWrite = [status];
        }

        internal ulong Header { get; }
        internal ulong Status { get; }
        internal ulong Data { get; }
        internal GuestBuffer[] ReadableOfRead { get; }
        internal GuestBuffer[] WritableOfRead { get; }
        internal GuestBuffer[] ReadableOfWrite { get; }
        internal GuestBuffer[] WritableOfWrite { get; }
        internal long Block { get; set; }
        internal bool IsWrite { get; set; }
        internal long SubmittedAt { get; set; }
    }
}
