namespace Vmm.Devices.Simulation;

/// <summary>A queue of empty buffers that the device fills whenever it has something. CPU 0 alone uses it.</summary>
internal sealed class GuestReceiveQueue
{
    private readonly GuestDriver _driver;
    private readonly int _index;
    private readonly DriverQueue _ring;
    private readonly uint _bufferBytes;
    private readonly ulong[] _lent;
    private bool _wantsKick;

    private GuestReceiveQueue(GuestDriver driver, int index, DriverQueue ring, uint bufferBytes)
    {
        _driver = driver;
        _index = index;
        _ring = ring;
        _bufferBytes = bufferBytes;
        _lent = new ulong[ring.Size];
    }

    /// <summary>Times the device was kicked.</summary>
    internal long Kicks { get; private set; }

    /// <summary>
    /// Lays the queue out, with all its buffers in it, and starts it. Its features are negotiated. The first <see cref="Kick"/> is the
    /// caller's.
    /// </summary>
    /// <param name="kernel">The kernel on CPU 0.</param>
    /// <param name="driver">Whose queue it is.</param>
    /// <param name="index">Its number.</param>
    /// <param name="buffers">How many buffers; fewer if the device's queue is shorter.</param>
    /// <param name="bufferBytes">Bytes of each.</param>
    /// <returns>Null if the device has no such queue, or the guest not enough memory.</returns>
    internal static async ValueTask<GuestReceiveQueue?> Start(KernelCpu kernel, GuestDriver driver,
        int index, ushort buffers, uint bufferBytes)
    {
        ushort size = Math.Min(await driver.Transport.QueueSizeMax(index), buffers);
        if (size == 0 || kernel.Kernel.Pages.TakeForQueue(GuestQueue.RingBytes(size) + size * bufferBytes) is not { } allocator)
            return null;
        DriverQueue ring = DriverQueue.Create(kernel.Cpu.Memory, allocator, size, driver.Transport.Features);
        GuestReceiveQueue queue = new(driver, index, ring, bufferBytes);
        ulong data = allocator.Allocate(size * bufferBytes);
        for (uint i = 0; i < size; i++) queue.GiveBack(data + i * bufferBytes);
        await driver.Transport.StartQueue(index, ring);
        return queue;
    }

    /// <summary>Takes a buffer that the device filled.</summary>
    /// <param name="received">Where it is, and as much of it as the device wrote. It is to be given back.</param>
    internal bool TryTake(out GuestBuffer received)
    {
        bool any = _ring.TryCollect(out UsedChain used);
        received = any ? new GuestBuffer(_lent[used.Id], Math.Min(used.Written, _bufferBytes)) : default;
        return any;
    }

    /// <summary>Gives a buffer back; a device that looks finds it from now on, one that waits needs a <see cref="Kick"/>.</summary>
    internal void GiveBack(ulong address)
    {
        if (!_ring.TryAdd([], [new GuestBuffer(address, _bufferBytes)], out ushort id))
            throw new InvalidOperationException("a ring of buffers has no room for one of its own");
        _lent[id] = address;
        _wantsKick |= _ring.Publish();
    }

    /// <summary>Kicks the device if it wants to know of buffers that were given back.</summary>
    internal async ValueTask Kick(KernelCpu kernel)
    {
        if (!_wantsKick) return;
        _wantsKick = false;
        Kicks++;
        await _driver.Transport.Kick(kernel.Cpu, _index);
    }

    /// <summary>Asks for an interrupt when the device filled a buffer.</summary>
    /// <returns>False if it filled one already, and no interrupt will come.</returns>
    internal bool PrepareToWait() => !_ring.EnableInterrupts();
}
