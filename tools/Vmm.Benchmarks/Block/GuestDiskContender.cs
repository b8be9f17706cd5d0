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

    private readonly SimulatedGuest _guest;
    private readonly DriverQueue _ring;
    private readonly GuestBuffer[][] _readable;
    private readonly GuestBuffer[][] _writable;
    private readonly int[] _slotOf;
    private readonly Stack<int> _free = new();
    private BlockOrder _order = new();

    internal GuestDiskContender(bool packed)
    {
        _guest = SimulatedGuest.For(
            new BlockDevice("vda", RawImage.Open(BlockFile.Cached.Value.Path, readOnly: true), new DiskSpec { QueueSize = 128 }),
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
            _writable[slot] = [queue.Place(new byte[BlockFile.BlockBytes]), queue.Place(new byte[StatusBytes])];
            _free.Push(slot);
        }
    }

    public int Quantum => BlockComparison.Depth;

    public void Run(long operations)
    {
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
                if (used.Written != BlockFile.BlockBytes + StatusBytes)
                    throw new InvalidOperationException($"a read gave {used.Written} bytes");
                _free.Push(slot);
                done++;
            }
        }
    }

    public void Dispose() => _guest.Dispose();

    private void Start(int slot)
    {
        _guest.Memory.TryGetSpan(_readable[slot][0].Address, HeaderBytes, out Span<byte> header);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], _order.NextOffset() / 512);
        if (!_ring.TryAdd(_readable[slot], _writable[slot], out ushort id)) throw new InvalidOperationException("the ring is full");
        _slotOf[id] = slot;
    }

    private static ulong Features(bool packed) =>
        VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | (packed ? VirtioFeatures.PackedRing : 0);
}
