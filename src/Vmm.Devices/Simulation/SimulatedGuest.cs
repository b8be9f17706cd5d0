using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A guest with one device and a driver in C#, to test the device with: no hypervisor, but real guest memory, real rings, real eventfds,
/// the real transport and a real reactor, which the test steps on its own thread.
/// </summary>
/// <example><code>
/// using var guest = SimulatedGuest.For(new EntropyDevice("rng0"));
/// DriverRequest request = guest.Queue(0).Add(writable: [16, 4096]);
/// guest.Kick(0).RunUntilIdle();
/// </code></example>
public sealed class SimulatedGuest : IDisposable
{
    /// <summary>
    /// Longest a test waits for something that completes on another thread or in the kernel, while the reactor has work; see
    /// <see cref="SimulatedGuestOptions.IdlePatience"/>.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // Low memory is left alone, so that a null address in a ring is never one of ours.
    private const ulong FirstAddress = 1 << 16;
    private const int TurnsMax = 100_000;

    private readonly SimulatedGuestOptions _options;
    private readonly CountingLine _line = new();
    private readonly SimulatedQueue?[] _queues;
    private int _interruptsBefore;
    private long _servedBefore;
    private bool _disposed;

    private SimulatedGuest(VirtioDevice device, SimulatedGuestOptions options)
    {
        Device = device;
        _options = options;
        Memory = GuestMemory.Create(options.MemoryBytes);
        Allocator = new GuestAllocator(FirstAddress, options.MemoryBytes - FirstAddress);
        ReactorOptions reactor = new()
        {
            Name = device.Name,
            HandlerFailurePolicy = HandlerFailurePolicy.StopReactor,
            Poller = options.Poller,
            TimeProvider = options.Clock,
        };
        Reactor = options.Beside?.Reactor ?? new Reactor(options.Reactor?.Invoke(reactor) ?? reactor);
        Transport = new VirtioMmioTransport(device, Memory, _line, Reactor.Remote, options.Transport);
        Driver = new VirtioMmioDriver(Transport);
        _queues = new SimulatedQueue?[device.Queues.Count];
    }

    /// <summary>The device under test. The guest disposes it.</summary>
    public VirtioDevice Device { get; private set; }

    /// <summary>The guest's memory.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Hands out guest memory for rings and buffers.</summary>
    internal GuestAllocator Allocator { get; }

    /// <summary>The reactor that owns the device. A handler that throws ends the test with its exception.</summary>
    public Reactor Reactor { get; }

    /// <summary>The registers in front of the device.</summary>
    internal VirtioMmioTransport Transport { get; private set; }

    /// <summary>The driver's walk through the registers.</summary>
    internal VirtioMmioDriver Driver { get; private set; }

    /// <summary>The negotiated features.</summary>
    public ulong Features { get; private set; }

    /// <summary>Interrupts for used buffers so far.</summary>
    public int Interrupts => _interruptsBefore + (int)Device.QueueStatistics.Sum(queue => queue.Interrupts);

    /// <summary>Requests that the device gave back so far.</summary>
    internal long Served => _servedBefore + Device.Totals.Requests;

    /// <summary>Interrupts for the configuration, or a device that needs a reset, so far.</summary>
    public int ConfigInterrupts => _line.Asserts - Interrupts;

    /// <summary>Whether the interrupt line is up.</summary>
    public bool IsInterrupted => _line.IsUp;

    /// <summary>A guest around a device, brought up to DRIVER_OK unless the options say otherwise.</summary>
    /// <exception cref="InvalidOperationException">The device refused the driver.</exception>
    public static SimulatedGuest For(VirtioDevice device, SimulatedGuestOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        options ??= new SimulatedGuestOptions();
        SimulatedGuest guest = new(device, options);
        if (options.Start) guest.Start();
        return guest;
    }

    /// <summary>A queue the driver set up.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The device has no such queue; the message names those it has.</exception>
    public SimulatedQueue Queue(int index) =>
        index >= 0 && index < _queues.Length
            ? _queues[index] ?? throw new InvalidOperationException($"queue {index} is not set up: start the guest first")
            : throw new ArgumentOutOfRangeException(nameof(index), $"{Device.Name} has no queue {index}: it has "
                + string.Join(", ", Device.Queues.Select((queue, i) => $"{i} '{queue.Name}'")));

    /// <summary>Brings the device up as a driver does: probe, features, queues, DRIVER_OK. Again after a reset.</summary>
    /// <param name="features">Those the driver can use; null for those of the options.</param>
    /// <exception cref="InvalidOperationException">The device refused the driver.</exception>
    public SimulatedGuest Start(ulong? features = null)
    {
        Negotiate(features).SetUpQueues();
        Driver.AddStatus(DeviceStatus.DriverOk);
        return RunUntilIdle();
    }

    /// <summary>The first part of <see cref="Start"/>: up to FEATURES_OK.</summary>
    /// <exception cref="InvalidOperationException">The device refused the driver.</exception>
    public SimulatedGuest Negotiate(ulong? features = null)
    {
        if (!Driver.IsPresent) throw new InvalidOperationException("there is no virtio-mmio device of version 2");
        if (!Driver.TryNegotiate(features ?? _options.Features, out ulong accepted))
            throw new InvalidOperationException($"{Device.Name} refused the features 0x{accepted:x}");
        Features = accepted;
        return this;
    }

    /// <summary>The second part of <see cref="Start"/>: a fresh ring for every queue.</summary>
    public SimulatedGuest SetUpQueues()
    {
        for (int i = 0; i < _queues.Length; i++) SetUpQueue(i);
        return this;
    }

    /// <summary>Gives the device a fresh ring for a queue: at the start, and after the queue's reset.</summary>
    public SimulatedQueue SetUpQueue(int index)
    {
        _queues[index]?.Dispose();
        ushort size = Math.Min(Driver.QueueSizeMax(index), _options.QueueSizeMax);
        DriverQueue ring = DriverQueue.Create(Memory, Allocator, size, Features);
        SimulatedQueue queue = new(index, Memory, Allocator, ring);
        Driver.SetUpQueue(index, ring.Configuration(index));
        _queues[index] = queue;
        return queue;
    }

    /// <summary>Rings a queue, whether or not the device wants it.</summary>
    public SimulatedGuest Kick(int queue)
    {
        Driver.Kick(queue);
        return this;
    }

    /// <summary>
    /// Steps the reactor until it has nothing to do, as an interrupt handler collecting what was used. Requests a device completes from
    /// elsewhere may still be in flight: see <see cref="RunUntil"/>.
    /// </summary>
    public SimulatedGuest RunUntilIdle()
    {
        for (int turns = 0; Step(TimeSpan.Zero) > 0; turns++)
        {
            if (turns == TurnsMax) throw new InvalidOperationException($"{Device.Name} is still busy after {TurnsMax} turns: it spins");
        }
        return this;
    }

    /// <summary>Steps the reactor until something is so.</summary>
    /// <exception cref="TimeoutException">
    /// It was not within <see cref="Patience"/>, or the reactor had nothing to do for
    /// <see cref="SimulatedGuestOptions.IdlePatience"/>. The message names the queues with chains that the device has not pushed.
    /// </exception>
    public SimulatedGuest RunUntil(Func<bool> condition)
    {
        ArgumentNullException.ThrowIfNull(condition);
        long start = Stopwatch.GetTimestamp(), busy = start;
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(busy) > _options.IdlePatience) throw Stuck($"has had nothing to do for {_options.IdlePatience}");
            if (Stopwatch.GetElapsedTime(start) > Patience) throw Stuck($"is still busy after {Patience}");
            if (Step(TimeSpan.FromMilliseconds(20)) > 0) busy = Stopwatch.GetTimestamp();
        }
        return this;
    }

    /// <summary>What the device has not done yet, for the author who looks for the chain that was not pushed.</summary>
    private TimeoutException Stuck(string how)
    {
        IEnumerable<string> left = _queues.OfType<SimulatedQueue>().Where(queue => queue.InFlight > 0).Select(queue =>
        {
            int popped = Transport.InFlight(queue.Index);
            return $"queue '{Device.Queues[queue.Index].Name}': {popped} popped, not pushed; {queue.InFlight - popped} not popped";
        });
        return new TimeoutException(string.Join("; ", left.Prepend($"{Device.Name} {how}, and the condition does not hold")));
    }

    /// <summary>Resets the device as a driver does, and waits until it is.</summary>
    public SimulatedGuest Reset()
    {
        Driver.Reset();
        RunUntil(() => Driver.Status == DeviceStatus.None);
        for (int i = 0; i < _queues.Length; i++)
        {
            _queues[i]?.Dispose();
            _queues[i] = null;
        }
        return this;
    }

    /// <summary>
    /// Pauses the device, as a machine that stands still: on return it does not touch the guest until <see cref="Resume"/>.
    /// </summary>
    /// <exception cref="TimeoutException">It did not stop within <see cref="Patience"/>.</exception>
    public SimulatedGuest Pause() => Await(Transport.PauseAsync());

    /// <summary>Lets a paused device go on.</summary>
    public SimulatedGuest Resume() => Await(Transport.ResumeAsync());

    /// <summary>
    /// Saves the device, disposes it, makes another one of the same kind that goes on from what was written, and lets it go on with the
    /// same driver: as a machine does that is put away and brought back by another process.
    /// </summary>
    /// <param name="make">Makes the other device, when the first one is gone. It becomes the guest's, which disposes it.</param>
    /// <returns>What was written: UTF-8 JSON.</returns>
    /// <exception cref="StateException">The other device is of another kind.</exception>
    public byte[] GoOnIn(Func<VirtioDevice> make)
    {
        ArgumentNullException.ThrowIfNull(make);
        byte[] state = Pause().Save();
        Replace(make, state);
        Resume();
        return state;
    }

    /// <summary>What another process needs to go on with a device that is paused: UTF-8 JSON.</summary>
    internal byte[] Save()
    {
        StateWriter writer = new();
        Transport.Save(writer);
        using MemoryStream stream = new();
        writer.WriteTo(stream);
        return stream.ToArray();
    }

    /// <summary>The part of <see cref="GoOnIn"/> after the save. The device is paused.</summary>
    internal void Replace(Func<VirtioDevice> make, ReadOnlyMemory<byte> state)
    {
        Await(Transport.StopAsync());
        Transport.Dispose();
        _interruptsBefore = Interrupts;
        _servedBefore = Served;
        Device.Dispose();
        Device = make();
        Transport = new VirtioMmioTransport(Device, Memory, _line, Reactor.Remote, _options.Transport);
        Driver = new VirtioMmioDriver(Transport);
        StateReader reader = StateReader.Parse(state, Device.Name);
        Transport.Restore(reader, Reactor);
        reader.Complete();
    }

    /// <summary>Stops the device, and disposes everything.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        try
        {
            Reset();
        }
        catch (ReactorStoppedException)
        {
            // The test has its exception already: the handler that threw.
        }
        Transport.Dispose();
        if (_options.Beside is null) Reactor.Dispose();
        Device.Dispose();
        Memory.Dispose();
    }

    private SimulatedGuest Await(Task task) => RunUntil(() => task.IsCompleted);

    private int Step(TimeSpan wait)
    {
        int done = Reactor.RunOnce(wait);
        if (_line.IsUp) Driver.TakeInterrupts();
        foreach (SimulatedQueue? queue in _queues) queue?.Collect();
        return done;
    }
}
