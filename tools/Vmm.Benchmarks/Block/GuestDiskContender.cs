using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>
/// Random reads of a simulated guest's disk with one queue: driver, reactor and device on one thread, as fio is. Everything a guest's
/// request passes is passed: the ring in guest memory, a kick by an eventfd, the device, the kernel, the used ring, the interrupt.
/// </summary>
internal sealed class GuestDiskContender : IContender
{
    private const int HeaderBytes = 16;
    private const int StatusBytes = 1;

    private readonly GuestReads _reads;
    private readonly SimulatedGuest _guest;
    private readonly DriverQueue _ring;
    private readonly GuestBuffer[][] _readable;
    private readonly GuestBuffer[][] _writable;
    private readonly int[] _slotOf;
    private readonly Stack<int> _free = new();
    private BlockOrder _order = new();

    internal GuestDiskContender(bool packed)
        : this(new GuestReads(BlockFile.BlockBytes, BlockFile.BlockBytes), BlockFile.Cached.Value, packed)
    {
    }

    /// <summary>Past the page cache, by processor time.</summary>
    internal GuestDiskContender(GuestReads reads) : this(reads, BlockFile.Direct.Value, packed: false)
    {
    }

    private GuestDiskContender(GuestReads reads, BlockFile file, bool packed)
    {
        _reads = reads;
        IsTimedByProcessor = file.IsDirect;
        DiskSpec spec = new() { Path = file.Path, ReadOnly = true, QueueSize = 128, Direct = file.IsDirect, Pin = reads.Pin };
        _guest = SimulatedGuest.For(spec.Open("vda"),
            new SimulatedGuestOptions
            {
                Transport = new VirtioMmioOptions { CommonFeatures = Features(packed) },
                Reactor = SlowHandlers.Watch
            });
        SimulatedQueue queue = _guest.Queue(0);
        _ring = queue.Ring;
        _slotOf = new int[_ring.Size];
        _readable = new GuestBuffer[BlockComparison.Depth][];
        _writable = new GuestBuffer[BlockComparison.Depth][];
        for (int slot = 0; slot < BlockComparison.Depth; slot++)
        {
            _readable[slot] = [queue.Place(new byte[HeaderBytes])];
            // Neighbours in memory would be one piece to the kernel.
            GuestBuffer[] pieces =
                [.. Enumerable.Range(0, reads.Bytes / reads.PieceBytes).Select(_ => queue.Place(new byte[reads.PieceBytes])).Reverse()];
            _writable[slot] = [.. pieces, queue.Place(new byte[StatusBytes])];
            _free.Push(slot);
        }
    }

    public int Quantum => BlockComparison.Depth;

    public TimeSpan? OwnTime { get; private set; }

    private bool IsTimedByProcessor { get; }

    public void Run(long operations)
    {
        TimeSpan before = ThreadTime.Now;
        long started = 0, done = 0;
        while (done < operations)
        {
            while (started < operations && _free.TryPop(out int slot))
            {
                Start(slot);
                started++;
            }
            if (_ring.Publish()) _guest.Kick(0);
            _guest.Reactor.RunOnce(TimeSpan.FromSeconds(1));
            if (_guest.IsInterrupted) _guest.Driver.TakeInterrupts();
            while (_ring.TryCollect(out UsedChain used))
            {
                int slot = _slotOf[used.Id];
                if (used.Written != _reads.Bytes + StatusBytes)
                    throw new InvalidOperationException($"a read gave {used.Written} bytes");
                _free.Push(slot);
                done++;
            }
        }
        if (IsTimedByProcessor) OwnTime = ThreadTime.Now - before;
    }

    public void Dispose() => _guest.Dispose();

    private void Start(int slot)
    {
        _guest.Memory.TryGetSpan(_readable[slot][0].Address, HeaderBytes, out Span<byte> header);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], _order.NextOffset() / (uint)_reads.Bytes * (uint)_reads.Bytes / 512);
        if (!_ring.TryAdd(_readable[slot], _writable[slot], out ushort id)) throw new InvalidOperationException("the ring is full");
        _slotOf[id] = slot;
    }

    private static ulong Features(bool packed) =>
        VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | (packed ? VirtioFeatures.PackedRing : 0);
}

/// <summary>What a guest reads of its disk at random.</summary>
/// <param name="Bytes">Of a read.</param>
/// <param name="PieceBytes">Of each buffer that it is read into.</param>
/// <param name="Pin">Whether guest memory is pinned.</param>
internal sealed record GuestReads(int Bytes, int PieceBytes, bool Pin = false);
