using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A queue of packets to the device: some may be in flight at once, so that one that the host holds up does not hold up the others. On
/// CPU 0.
/// </summary>
internal sealed class GuestTransmitQueue
{
    /// <summary>Most payload of a packet.</summary>
    internal const int PayloadBytesMax = (int)(SlotBytes - VsockHeader.Bytes);

    private const ushort Slots = 8;
    private const uint SlotBytes = 64 * 1024;

    private readonly GuestDriver _driver;
    private readonly int _index;
    private readonly DriverQueue _ring;
    private readonly Stack<ulong> _free = new();
    private readonly ulong[] _lent;

    private GuestTransmitQueue(GuestDriver driver, int index, DriverQueue ring)
    {
        _driver = driver;
        _index = index;
        _ring = ring;
        _lent = new ulong[ring.Size];
        ring.DisableInterrupts();
    }

    /// <summary>Times the device was kicked.</summary>
    internal long Kicks { get; private set; }

    /// <summary>Lays the queue out and starts it. Its features are negotiated.</summary>
    /// <returns>Null if the device has no such queue, or the guest not enough memory.</returns>
    internal static async ValueTask<GuestTransmitQueue?> Start(KernelCpu kernel, GuestDriver driver, int index)
    {
        ushort size = Math.Min(await driver.Transport.QueueSizeMax(index), Slots);
        if (size == 0 || kernel.Kernel.Pages.TakeForQueue(GuestQueue.RingBytes(size) + size * SlotBytes) is not { } allocator) return null;
        DriverQueue ring = DriverQueue.Create(kernel.Cpu.Memory, allocator, size, driver.Transport.Features);
        GuestTransmitQueue queue = new(driver, index, ring);
        ulong data = allocator.Allocate(size * SlotBytes);
        for (uint i = 0; i < size; i++) queue._free.Push(data + i * SlotBytes);
        await driver.Transport.StartQueue(index, ring);
        return queue;
    }

    /// <summary>Sends a packet; waits while all slots are in flight.</summary>
    /// <param name="kernel">The kernel on CPU 0.</param>
    /// <param name="header">What stands in front.</param>
    /// <param name="payload">What follows, at most <see cref="PayloadBytesMax"/>.</param>
    /// <param name="giveUp">Looked at after each interrupt: whether to wait no longer.</param>
    /// <returns>False if it was not sent: the device can't go on, or the wait was aborted.</returns>
    internal async ValueTask<bool> Send(KernelCpu kernel, VsockHeader header, ReadOnlyMemory<byte> payload, Func<bool> giveUp)
    {
        Collect();
        while (_free.Count == 0)
        {
            if (_driver.IsBroken || giveUp()) return false;
            if (!_ring.EnableInterrupts()) await kernel.WaitForInterrupt();
            _ring.DisableInterrupts();
            Collect();
        }
        ulong slot = _free.Pop();
        kernel.Cpu.Memory.TryWrite(slot, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)));
        kernel.Cpu.Memory.TryWrite(slot + VsockHeader.Bytes, payload.Span);
        if (!_ring.TryAdd([new GuestBuffer(slot, VsockHeader.Bytes + (uint)payload.Length)], [], out ushort id))
            throw new InvalidOperationException("a ring has no room for one of its own slots");
        _lent[id] = slot;
        if (!_ring.Publish()) return true;
        Kicks++;
        await _driver.Transport.Kick(kernel.Cpu, _index);
        return true;
    }

    private void Collect()
    {
        while (_ring.TryCollect(out UsedChain used)) _free.Push(_lent[used.Id]);
    }
}
