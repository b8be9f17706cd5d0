using System.Buffers.Binary;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A virtio device as memory-mapped registers, version 2 (virtio 1.2 § 4.2). vCPU threads access the registers under their own small lock;
/// activation, the start and stop of queues and reset run on the reactors that own the device and its queues, never on a vCPU's thread.
/// </summary>
/// <remarks>
/// Registers take aligned accesses of 4 bytes only, the configuration space takes any. Every other access reads 0 or is dropped, and is
/// counted in <see cref="RefusedAccesses"/>, as is a write that the specification forbids the driver.
/// </remarks>
internal sealed class VirtioMmioTransport : IBusDevice, IVirtioInterrupt, IDisposable
{
    /// <summary>Bytes of address space to map it at; the configuration space ends with it.</summary>
    internal const ulong Length = 0x1000;

    private readonly RemoteEndpoint _main;
    private readonly VirtioMmioOptions _options;
    private readonly MmioQueue[] _queues;
    private readonly MmioFeatures _features;
    private readonly MmioRegisters _registers;
    private readonly MmioConfigWindow _config;
    private readonly MmioInterrupt _interrupt;
    private readonly MmioLifecycle _life;
    private readonly MmioRefusals _refusals;

    /// <summary>Puts a device behind registers.</summary>
    /// <param name="device">The device. The transport does not dispose it.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="line">The interrupt line to the guest.</param>
    /// <param name="reactor">The reactor that owns the device.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentException">The device's queues share state, and reactors were given to spread them over.</exception>
    internal VirtioMmioTransport(
        VirtioDevice device, GuestMemory memory, IInterrupt line, RemoteEndpoint reactor, VirtioMmioOptions? options = null)
    {
        _options = options ?? new VirtioMmioOptions();
        Device = device;
        _main = reactor;
        RemoteEndpoint[] reactors = DeviceRunner.ReactorsOf(device, reactor, _options.QueueReactors);
        _queues = [.. device.Queues.Select((queue, i) => new MmioQueue(i, queue.SizeMax))];
        _refusals = new MmioRefusals(device);
        _interrupt = new MmioInterrupt(line);
        _config = new MmioConfigWindow(device, reactor, _refusals);
        _features = new MmioFeatures(device, device.Features | _options.CommonFeatures | VirtioFeatures.Version1);
        DeviceRunner runner = new(device, reactor, reactors, queue => _queues[queue].Kick.Duplicate());
        _life = new MmioLifecycle(device, memory, this, reactor, runner);
        _registers = new MmioRegisters(device, _features, _queues, _interrupt, _life, _refusals);
    }

    /// <summary>The device behind the registers.</summary>
    internal VirtioDevice Device { get; }

    /// <summary>Accesses that had no meaning or were not allowed: they read 0 or were dropped. Any thread.</summary>
    internal long RefusedAccesses => _refusals.Count;

    /// <inheritdoc cref="MmioRegisters.HasDriver"/>
    internal bool HasDriver => _registers.HasDriver;

    /// <inheritdoc cref="MmioRegisters.IsAcknowledged"/>
    internal bool IsAcknowledged => _registers.IsAcknowledged;

    /// <summary>
    /// What rings a queue. A write of the queue's number to QueueNotify signals it; an ioeventfd may do so with no exit to user space. It
    /// lives as long as the transport.
    /// </summary>
    internal EventFd KickOf(int queue) => _queues[queue].Kick;

    /// <summary>Chains of a queue that were popped and not pushed. On the reactor's thread.</summary>
    internal int InFlight(int queue) => _life.Runner.InFlight(queue);

    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (offset >= MmioRegister.Config) _config.Read(offset - MmioRegister.Config, data);
        else if (IsRegisterAccess(offset, data.Length)) BinaryPrimitives.WriteUInt32LittleEndian(data, _registers.Read((uint)offset));
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= MmioRegister.Config)
        {
            _config.Write(offset - MmioRegister.Config, data);
            return;
        }
        if (!IsRegisterAccess(offset, data.Length)) return;
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(data);
        if (offset == MmioRegister.QueueNotify)
        {
            Kick(value);
            return;
        }
        _registers.Write((uint)offset, value);
        if (offset == MmioRegister.Status && value == 0 && _options.ResetWait > TimeSpan.Zero && !_main.IsReactorThread)
            _registers.WaitUntilQuiet(_options.ResetWait);
    }

    public void SignalQueue(int queueIndex) => _interrupt.Raise(MmioInterrupt.UsedBuffers);

    public void SignalConfig()
    {
        if (_registers.IsLive) _interrupt.Raise(MmioInterrupt.ConfigChange);
    }

    public void SignalNeedsReset()
    {
        if (_registers.AskForReset()) _interrupt.Raise(MmioInterrupt.ConfigChange);
    }

    /// <summary>
    /// Resets the device as if the driver had asked for it, and completes when it is quiet. For the end of the machine, when the vCPUs are
    /// gone and the reactors still run. Any thread but a reactor's may wait for it.
    /// </summary>
    internal Task StopAsync() => _registers.ResetAsync();

    /// <summary>
    /// Stops every queue, and completes when none of them has a request in flight: until <see cref="ResumeAsync"/> the device does not
    /// touch the guest. The driver sees nothing of it. For a machine whose vCPUs stand still. Any thread but a reactor's may wait for it.
    /// </summary>
    internal Task PauseAsync() => _life.PauseAsync();

    /// <summary>
    /// Lets the queues that <see cref="PauseAsync"/> stopped go on where they were, and completes when they are served again.
    /// </summary>
    internal Task ResumeAsync() => _life.ResumeAsync();

    /// <inheritdoc cref="MmioRegisters.KeepRings"/>
    internal void KeepRings(IBeforeWrite guard) => _registers.KeepRings(guard);

    /// <summary>
    /// Writes what another process needs to go on with the same driver: the registers, the configuration, where each queue stands, and what
    /// the device knows. On the device's reactor.
    /// </summary>
    /// <exception cref="StateException">The device is not paused, or a request is in flight.</exception>
    internal void Save(StateWriter to)
    {
        _registers.Save(to.AddRecord("registers"));
        Device.Config.Save(to.AddRecord("configuration"));
        Device.Save(to.AddRecord("device", Device.StateVersion));
    }

    /// <summary>
    /// Takes over from the process that wrote <paramref name="from"/>: the device is paused then, and goes on where it stood when it is
    /// resumed. Guest memory, and interrupt controllers, have their state already. Once, before a vCPU runs; on the device's reactor.
    /// </summary>
    /// <exception cref="StateException">It does not fit; the device is good for nothing but its disposal.</exception>
    internal void Restore(StateReader from, IReactor reactor)
    {
        (MmioQueue Queue, ushort Position)[] served = _registers.Restore(from.Record("registers"));
        if (_registers.IsLive) _life.BeginPaused(_features.Accepted, reactor);
        Device.Restore(from.Record("device", Device.StateVersion));
        bool isOther = Device.Config.Restore(from.Record("configuration"));
        foreach ((MmioQueue queue, ushort position) in served) _life.Start(queue, position);
        if (isOther) SignalConfig();
    }

    /// <summary>Closes the kicks. The device must be quiet: see <see cref="StopAsync"/>.</summary>
    public void Dispose()
    {
        foreach (MmioQueue queue in _queues) queue.Dispose();
        _registers.Dispose();
    }

    // Not under the registers' lock: a kick is the one access that is hot, and it touches nothing but the eventfd.
    private void Kick(uint value)
    {
        uint queue = value & _features.KickMask;
        if (queue >= (uint)_queues.Length)
        {
            _refusals.Add("a kick of a queue that does not exist");
            return;
        }
        try
        {
            _queues[queue].Kick.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The device was removed while this access ran.
        }
    }

    private bool IsRegisterAccess(ulong offset, int width)
    {
        if (width == sizeof(uint) && offset % sizeof(uint) == 0) return true;
        _refusals.Add("a register access that is not 4 aligned bytes (virtio 1.2 § 4.2.2.2)");
        return false;
    }
}
