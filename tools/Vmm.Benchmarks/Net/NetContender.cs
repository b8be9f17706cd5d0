using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>
/// The network device on a TAP, with a driver that keeps its ring full: rings, kick, reactor, device, interrupt, all on one thread.
/// </summary>
internal sealed class NetContender : IContender, IInterrupt
{
    /// <summary>Frames the driver sends, or takes, at once.</summary>
    internal const int Batch = 256;

    private const ulong MemoryBytes = 16 << 20;
    private const int ReceiveQueue = 0, TransmitQueue = 1;
    private const uint HeaderLength = 12;
    private const uint ReceiveBuffer = 1536;
    private const int EthernetHeader = 14;

    private readonly bool _toGuest;
    private readonly int _frame;
    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly Reactor _reactor = new();
    private readonly NetDevice _device;
    private readonly VirtioMmioTransport _transport;
    private readonly VirtioMmioDriver _driver;
    private readonly int _queue;
    private readonly DriverQueue _ring;
    private readonly GuestBuffer[] _buffers;
    private readonly int[] _bufferOf;
    private readonly OwnedFd _other;
    private long _waiting;
    private bool _isInterrupted;

    internal NetContender(bool toGuest, int frame, bool packed)
    {
        _toGuest = toGuest;
        _frame = frame;
        string name = TapLibrary.NewName();
        _device = new NetDevice("net0", TapInterface.Open(name));
        _transport = new VirtioMmioTransport(_device, _memory, this, _reactor.Remote);
        _driver = new VirtioMmioDriver(_transport);
        _other = new OwnedFd(TapLibrary.OpenOtherSide(name));
        if (!_driver.TryNegotiate(packed ? ulong.MaxValue : ~VirtioFeatures.PackedRing, out ulong features))
            throw new InvalidOperationException("the device refuses its features");
        GuestAllocator allocator = new(1 << 16, MemoryBytes - (1 << 16));
        _queue = toGuest ? ReceiveQueue : TransmitQueue;
        _ring = DriverQueue.Create(_memory, allocator, Batch, features);
        _driver.SetUpQueue(_queue, _ring.Configuration(_queue));
        _driver.AddStatus(DeviceStatus.DriverOk);
        while (_reactor.RunOnce(TimeSpan.Zero) > 0)
        {
        }
        // One buffer a chain: a table for it would be a detour.
        _ring.UseIndirect = false;
        byte[] content = new byte[toGuest ? ReceiveBuffer : HeaderLength + (uint)frame];
        if (!toGuest) ((ReadOnlySpan<byte>)[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5])
            .CopyTo(content.AsSpan((int)HeaderLength, EthernetHeader));
        _buffers =
            [.. Enumerable.Range(0, Batch).Select(_ => new GuestBuffer(allocator.Allocate((uint)content.Length), (uint)content.Length))];
        foreach (GuestBuffer buffer in _buffers) _memory.TryWrite(buffer.Address, content);
        _bufferOf = new int[_ring.Size];
        if (!toGuest) return;
        for (int i = 0; i < Batch; i++) Offer(i);
        Kick();
        Prepare();
    }

    public int Quantum => Batch;

    public void Prepare()
    {
        if (!_toGuest) return;
        TapLibrary.Fill(_other.Number, _frame, TapLibrary.FillTo - _waiting);
        _waiting = TapLibrary.FillTo;
    }

    public void Run(long operations)
    {
        if (_toGuest) Receive(operations);
        else Send(operations);
    }

    public void Dispose()
    {
        _driver.Reset();
        while (_driver.Status != DeviceStatus.None) _reactor.RunOnce(TimeSpan.FromMilliseconds(1));
        _transport.Dispose();
        _reactor.Dispose();
        _device.Dispose();
        _ring.Dispose();
        _memory.Dispose();
        _other.Dispose();
    }

    public void Assert() => _isInterrupted = true;

    public void Deassert() => _isInterrupted = false;

    /// <summary>Takes frames, and gives each buffer back as a driver does: a batch at a time.</summary>
    private void Receive(long frames)
    {
        long taken = 0;
        while (taken < frames)
        {
            Step();
            long before = taken;
            while (_ring.TryCollect(out UsedChain used))
            {
                Offer(_bufferOf[used.Id]);
                // The host's IPv6 has something to say on every interface that comes up.
                if (used.Written == HeaderLength + (uint)_frame) taken++;
            }
            if (taken > before) Kick();
        }
        _waiting -= taken;
        if (_waiting < 0) throw new InvalidOperationException("more frames came than were sent");
    }

    private void Send(long frames)
    {
        for (long sent = 0; sent < frames; sent += Batch)
        {
            foreach (ref readonly GuestBuffer buffer in _buffers.AsSpan())
            {
                if (!_ring.TryAdd([buffer], [], out _)) throw new InvalidOperationException("the ring is full");
            }
            Kick();
            while (_ring.InFlight > 0)
            {
                Step();
                while (_ring.TryCollect(out _))
                {
                }
            }
        }
    }

    private void Step()
    {
        _reactor.RunOnce(TimeSpan.Zero);
        if (_isInterrupted) _driver.TakeInterrupts();
    }

    private void Offer(int buffer)
    {
        if (!_ring.TryAdd([], [_buffers[buffer]], out ushort id)) throw new InvalidOperationException("the ring is full");
        _bufferOf[id] = buffer;
    }

    private void Kick()
    {
        if (_ring.Publish()) _driver.Kick(_queue);
    }
}
