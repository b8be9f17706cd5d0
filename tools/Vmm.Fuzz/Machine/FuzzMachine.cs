using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// A device behind virtio-mmio registers with real memory, rings and reactor, stepped by the fuzzer's own thread, and beside it on the same
/// reactor another device that must not notice anything.
/// </summary>
internal sealed class FuzzMachine : IDisposable
{
    internal const ulong MemoryBytes = 1 << 20;

    /// <summary>Where a driver's rings are.</summary>
    internal const ulong RingStart = 1 << 16;

    /// <summary>Where a driver's buffers are.</summary>
    internal const ulong BufferStart = MemoryBytes / 2;

    /// <summary>Where a region is that comes and goes.</summary>
    internal const ulong ExtraStart = 1UL << 32;
    private const ulong ExtraBytes = 1 << 16;

    private const ulong ProofBytesMax = 4096;
    private const int TurnsToRest = 10_000;

    /// <summary>Turns that do not wait; what is not done by then waits for the kernel, or for ever.</summary>
    private const int TurnsInHaste = 200;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);
    private const int PausesMax = 1_000;

    private readonly VirtioDevice _device;
    private readonly CountingLine _line = new();
    private readonly CountingLogger _log = new();
    private readonly Witness _witness;

    internal FuzzMachine(VirtioDevice device, PollerKind poller)
    {
        _device = device;
        device.Logger = _log;
        Memory = GuestMemory.Create(MemoryBytes);
        Reactor = new Reactor(new ReactorOptions
        {
            Name = device.Name,
            HandlerFailurePolicy = HandlerFailurePolicy.StopReactor,
            Poller = poller
        });
        Transport = new VirtioMmioTransport(device, Memory, _line, Reactor.Remote);
        Registers = new VirtioMmioDriver(Transport);
        Rings = new DriverQueue?[device.Queues.Count];
        _witness = new Witness(Reactor);
    }

    internal GuestMemory Memory { get; }

    internal Reactor Reactor { get; }

    internal VirtioMmioTransport Transport { get; }

    internal VirtioMmioDriver Registers { get; }

    /// <summary>The rings of the driver of the moment, by queue; null where it set none up.</summary>
    internal DriverQueue?[] Rings { get; }

    /// <summary>Lines the device logged.</summary>
    internal int Logged => _log.Lines;

    /// <summary>Brings the device up as a driver does, with rings of a size that it may choose.</summary>
    /// <param name="features">Those it takes of what is offered.</param>
    /// <param name="sizeMax">Most entries it gives a ring.</param>
    internal void Start(ulong features, int sizeMax)
    {
        BrokenPromiseException.Unless(Registers.IsPresent, "the device is gone");
        BrokenPromiseException.Unless(Registers.TryNegotiate(features, out ulong accepted),
            $"features 0x{accepted:x} of those offered were refused");
        GuestAllocator allocator = new(RingStart, BufferStart - RingStart);
        for (int i = 0; i < Rings.Length; i++)
        {
            Rings[i]?.Dispose();
            ushort size = (ushort)Math.Min(Registers.QueueSizeMax(i), sizeMax);
            Rings[i] = DriverQueue.Create(Memory, allocator, size, accepted);
            Registers.SetUpQueue(i, Rings[i]!.Configuration(i));
        }
        Registers.AddStatus(DeviceStatus.DriverOk);
    }

    /// <summary>Steps the reactor, as a guest that acknowledges its interrupts.</summary>
    /// <returns>Whether it came to rest.</returns>
    internal bool Turn(int turnsMax)
    {
        for (int turn = 0; turn < turnsMax; turn++)
        {
            int done = Reactor.RunOnce(TimeSpan.Zero);
            if (_line.IsUp) Registers.TakeInterrupts();
            if (done == 0) return true;
        }
        return false;
    }

    /// <summary>Resets the device as a driver does, and waits until it is.</summary>
    /// <param name="finishHost">Lets the host side complete what the device waits for.</param>
    internal void Reset(Action finishHost)
    {
        Registers.Reset();
        RunUntil(
            () =>
            {
                finishHost();
                return Registers.Status == DeviceStatus.None;
            },
            "a reset that never ends");
        for (int i = 0; i < Rings.Length; i++)
        {
            Rings[i]?.Dispose();
            Rings[i] = null;
        }
        BrokenPromiseException.Unless(Turn(TurnsToRest), "it does not stop after a reset");
    }

    /// <summary>A region comes or goes.</summary>
    internal void ChangeMemory(bool main)
    {
        if (main) Memory.Remove(0);
        else if (!Memory.Remove(ExtraStart)) Add(ExtraStart, ExtraBytes);
    }

    internal void RestoreMemory()
    {
        if (!Memory.Contains(0, MemoryBytes)) Add(0, MemoryBytes);
    }

    /// <summary>Steps the reactor until something is so.</summary>
    internal void RunUntil(Func<bool> condition, string otherwise)
    {
        for (int turn = 0; !condition(); turn++)
        {
            BrokenPromiseException.Unless(turn < TurnsInHaste + PausesMax, otherwise);
            Reactor.RunOnce(turn < TurnsInHaste ? TimeSpan.Zero : Pause);
        }
    }

    /// <summary>A request of the device is answered as it should be, on the rings of a driver that did nothing else yet.</summary>
    internal void Prove(BatteryRequest proof)
    {
        DriverQueue ring = Rings[proof.Queue]!;
        ulong readable = BufferStart, writable = readable + ProofBytesMax;
        Memory.TryWrite(readable, proof.Readable);
        ring.TryAdd(
            proof.Readable.Length > 0 ? [new GuestBuffer(readable, (uint)proof.Readable.Length)] : [],
            proof.Writable > 0 ? [new GuestBuffer(writable, (uint)proof.Writable)] : [], out _);
        ring.Publish();
        Registers.Kick(proof.Queue);
        // The request first, then what it waits for.
        Turn(TurnsInHaste);
        proof.Provoke?.Invoke(_device);
        UsedChain used = default;
        RunUntil(() => ring.TryCollect(out used), $"no answer in queue {proof.Queue} after a reset");
        byte[] content = new byte[proof.Writable];
        Memory.TryRead(writable, content);
        string? complaint = used.Written > proof.Writable
            ? $"{used.Written} bytes used of {proof.Writable}" : proof.Complaint(content, used.Written);
        if (complaint is not null) throw new BrokenPromiseException($"queue {proof.Queue} after a reset: {complaint}");
    }

    /// <summary>The device beside it still answers.</summary>
    internal void AskWitness() => _witness.Ask(RunUntil);

    public void Dispose()
    {
        foreach (DriverQueue? ring in Rings) ring?.Dispose();
        Task stopped = Transport.StopAsync(), witness = _witness.StopAsync();
        for (int turn = 0; turn < TurnsToRest && !(stopped.IsCompleted && witness.IsCompleted); turn++) Reactor.RunOnce(TimeSpan.Zero);
        Transport.Dispose();
        _witness.Dispose();
        Reactor.Dispose();
        _device.Dispose();
        Memory.Dispose();
    }

    private void Add(ulong start, ulong bytes)
    {
        GuestRegion region = GuestRegion.Create(start, bytes);
        if (!Memory.TryAdd(region, out string? refusal)) throw new BrokenPromiseException(refusal);
    }

    private sealed class CountingLogger : ILogger
    {
        internal int Lines { get; private set; }

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            _ = formatter(state, exception);
            Lines++;
        }
    }
}
