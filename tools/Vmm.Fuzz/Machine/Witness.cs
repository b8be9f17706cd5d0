using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>A device of another guest on the reactor under test: it must answer whatever its neighbour is put through.</summary>
internal sealed class Witness : IDisposable
{
    private const ulong MemoryBytes = 1 << 16;
    private const ulong Buffer = 1 << 15;
    private const uint Bytes = 8;

    private readonly EntropyDevice _device = new("witness", new Zeroes());
    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly VirtioMmioTransport _transport;
    private readonly VirtioMmioDriver _registers;
    private readonly DriverQueue _ring;

    internal Witness(Reactor reactor)
    {
        _transport = new VirtioMmioTransport(_device, _memory, new NoLine(), reactor.Remote);
        _registers = new VirtioMmioDriver(_transport);
        _registers.TryNegotiate(ulong.MaxValue, out ulong features);
        _ring = DriverQueue.Create(_memory, new GuestAllocator(0, Buffer), 8, features);
        _registers.SetUpQueue(0, _ring.Configuration());
        _registers.AddStatus(DeviceStatus.DriverOk);
    }

    /// <summary>It answers a request, and was blamed for nothing.</summary>
    /// <param name="runUntil">Steps the reactor until something is so; gets what to say if it never is.</param>
    internal void Ask(Action<Func<bool>, string> runUntil)
    {
        _ring.TryAdd([], [new GuestBuffer(Buffer, Bytes)], out _);
        _ring.Publish();
        _registers.Kick(0);
        UsedChain used = default;
        runUntil(() => _ring.TryCollect(out used), "the device beside it does not answer any more");
        BrokenPromiseException.Unless(used.Written == Bytes, $"the device beside it answers with {used.Written} bytes");
        BrokenPromiseException.Unless(_device.GuestFaults == 0, "the device beside it was blamed");
    }

    internal Task StopAsync() => _transport.StopAsync();

    public void Dispose()
    {
        _ring.Dispose();
        _transport.Dispose();
        _device.Dispose();
        _memory.Dispose();
    }

    private sealed class Zeroes : IEntropySource
    {
        public Errno Fill(Span<byte> span)
        {
            span.Clear();
            return Errno.None;
        }
    }
}
