namespace Vmm.Devices.Simulation;

/// <summary>A queue that CPU 0 alone uses, with one request at a time. For devices that are not asked for much at once.</summary>
internal sealed class GuestQueue
{
    private const ushort SizeMax = 16;

    private const uint PageBytes = 4096;
    private const uint IndirectTableBytes = 4 * 16;

    private readonly GuestDriver _driver;
    private readonly int _index;
    private readonly DriverQueue _ring;

    private GuestQueue(GuestDriver driver, int index, DriverQueue ring, ulong data)
    {
        _driver = driver;
        _index = index;
        _ring = ring;
        Data = data;
    }

    /// <summary>Guest address of the memory that was asked for.</summary>
    internal ulong Data { get; }

    /// <summary>Times the device was kicked.</summary>
    internal long Kicks { get; private set; }

    /// <summary>Guest memory for a ring, page by page, with indirect tables of four descriptors.</summary>
    internal static uint RingBytes(ushort size) => 3 * PageBytes + size * IndirectTableBytes;

    /// <summary>Lays the queue out and starts it. Its features are negotiated.</summary>
    /// <param name="kernel">The kernel on CPU 0.</param>
    /// <param name="driver">Whose queue it is.</param>
    /// <param name="index">Its number.</param>
    /// <param name="dataBytes">Guest memory to have beside the ring, for buffers.</param>
    /// <returns>Null if the device has no such queue, or the guest not enough memory.</returns>
    internal static async ValueTask<GuestQueue?> Start(KernelCpu kernel, GuestDriver driver, int index, uint dataBytes)
    {
        ushort size = Math.Min(await driver.Transport.QueueSizeMax(index), SizeMax);
        if (size == 0 || kernel.Kernel.Pages.TakeForQueue(RingBytes(size) + dataBytes) is not { } allocator) return null;
        DriverQueue ring = DriverQueue.Create(kernel.Cpu.Memory, allocator, size, driver.Transport.Features);
        GuestQueue queue = new(driver, index, ring, allocator.Allocate(dataBytes));
        await driver.Transport.StartQueue(index, ring);
        return queue;
    }

    /// <summary>Whether the device has a request.</summary>
    internal bool IsBusy { get; private set; }

    /// <summary>Has the device do a request, and waits for it.</summary>
    /// <returns>Bytes the device wrote; null if it can't go on.</returns>
    internal async ValueTask<uint?> Execute(KernelCpu kernel, GuestBuffer? readable, GuestBuffer? writable)
    {
        await Begin(kernel, readable, writable);
        return await Finish(kernel);
    }

    /// <summary>Gives the device a request. It must not have one.</summary>
    internal async ValueTask Begin(KernelCpu kernel, GuestBuffer? readable, GuestBuffer? writable)
    {
        GuestBuffer[] toRead = readable is { } read ? [read] : [];
        GuestBuffer[] toWrite = writable is { } write ? [write] : [];
        if (!_ring.TryAdd(toRead, toWrite, out _)) throw new InvalidOperationException("the ring is empty and yet full");
        IsBusy = true;
        if (!_ring.Publish()) return;
        Kicks++;
        await _driver.Transport.Kick(kernel.Cpu, _index);
    }

    /// <summary>Waits until the device is done with the request it has.</summary>
    /// <param name="kernel">The kernel on CPU 0.</param>
    /// <param name="giveUp">Looked at after each interrupt: whether to wait no longer, and leave the request with the device. Null:
    /// never.</param>
    /// <returns>Bytes the device wrote; null if it is not done.</returns>
    internal async ValueTask<uint?> Finish(KernelCpu kernel, Func<bool>? giveUp = null)
    {
        uint written;
        while (!TryFinish(out written))
        {
            if (_driver.IsBroken || giveUp?.Invoke() == true) return null;
            if (!_ring.EnableInterrupts()) await kernel.WaitForInterrupt();
        }
        return written;
    }

    /// <summary>Takes the request back if the device is done with it.</summary>
    internal bool TryFinish(out uint written)
    {
        bool done = _ring.TryCollect(out UsedChain used);
        written = used.Written;
        if (done) IsBusy = false;
        return done;
    }

    /// <summary>Asks for an interrupt when the device is done.</summary>
    /// <returns>False if it is done already, and no interrupt will come.</returns>
    internal bool PrepareToWait() => !_ring.EnableInterrupts();
}
