using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A virtio device as memory-mapped registers, version 2 (virtio 1.2 § 4.2). vCPU threads access the registers under the transport's own
/// small lock; activation, the start and stop of queues and reset run on the reactors that own the device and its queues, never on a vCPU's
/// thread.
/// </summary>
/// <remarks>
/// Registers take aligned accesses of 4 bytes only, the configuration space takes any. Every other access reads 0 or is dropped, and is
/// counted in <see cref="RefusedAccesses"/>, as is a write that the specification forbids the driver.
/// </remarks>
public sealed partial class VirtioMmioTransport : IBusDevice, IVirtioInterrupt, IDisposable
{
    /// <summary>Bytes of address space to map it at; the configuration space ends with it.</summary>
    public const ulong Length = 0x1000;

    private const uint WholeKick = uint.MaxValue;
    private const uint KickWithData = ushort.MaxValue;

    private readonly Lock _lock = new();
    private readonly VirtioDevice _device;
    private readonly GuestMemory _memory;
    private readonly IInterrupt _line;
    private readonly RemoteEndpoint _main;
    private readonly VirtioMmioOptions _options;
    private readonly MmioQueue[] _queues;
    private readonly DeviceRunner _runner;
    private readonly ulong _offered;
    private uint _kickMask = WholeKick;
    private long _refused;

    /// <summary>Puts a device behind registers.</summary>
    /// <param name="device">The device. The transport does not dispose it.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="line">The interrupt line to the guest.</param>
    /// <param name="reactor">The reactor that owns the device.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentException">The device's queues share state, and reactors were given to spread them over.</exception>
    public VirtioMmioTransport(
        VirtioDevice device, GuestMemory memory, IInterrupt line, RemoteEndpoint reactor, VirtioMmioOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(line);
        ArgumentNullException.ThrowIfNull(reactor);
        _options = options ?? new VirtioMmioOptions();
        _device = device;
        _memory = memory;
        _line = line;
        _main = reactor;
        _offered = device.Features | _options.CommonFeatures | VirtioFeatures.Version1;
        RemoteEndpoint[] reactors = DeviceRunner.ReactorsOf(device, reactor, _options.QueueReactors);
        _queues = [.. device.Queues.Select((queue, i) => new MmioQueue(i, queue.SizeMax))];
        _runner = new DeviceRunner(device, reactor, reactors, queue => _queues[queue].Kick.Duplicate());
        _configChanged = new ConfigWrittenCall(this);
    }

    /// <summary>The device behind the registers.</summary>
    public VirtioDevice Device => _device;

    /// <summary>Accesses that had no meaning or were not allowed: they read 0 or were dropped. Any thread.</summary>
    public long RefusedAccesses => Interlocked.Read(ref _refused);

    /// <summary>
    /// What rings a queue. A write of the queue's number to QueueNotify signals it; an ioeventfd may do so with no exit to user space. It
    /// lives as long as the transport.
    /// </summary>
    public EventFd KickOf(int queue) => _queues[queue].Kick;

    /// <summary>Chains of a queue that were popped and not pushed. On the reactor's thread.</summary>
    internal int InFlight(int queue) => _runner.InFlight(queue);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (offset >= MmioRegister.Config)
        {
            if (offset < Length) _device.Config.Read((int)(offset - MmioRegister.Config), data);
            else Refuse("a read beyond the device");
            return;
        }
        if (!IsRegisterAccess(offset, data.Length)) return;
        lock (_lock) BinaryPrimitives.WriteUInt32LittleEndian(data, ReadRegister((uint)offset));
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= MmioRegister.Config)
        {
            WriteConfig(offset, data);
            return;
        }
        if (!IsRegisterAccess(offset, data.Length)) return;
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(data);
        if (offset == MmioRegister.QueueNotify)
        {
            Kick(value);
            return;
        }
        lock (_lock) WriteRegister((uint)offset, value);
        if (offset == MmioRegister.Status && value == 0) WaitForReset();
    }

    /// <summary>Closes the kicks. The device must be quiet: see <see cref="StopAsync"/>.</summary>
    public void Dispose()
    {
        foreach (MmioQueue queue in _queues) queue.Dispose();
        _quiet.Dispose();
    }

    // Not under the lock: a kick is the one access that is hot, and it touches nothing but the eventfd.
    private void Kick(uint value)
    {
        // With NOTIFICATION_DATA the high half says how far the driver got (virtio 1.2 § 2.9): the ring says so too, and is what counts.
        uint queue = value & Volatile.Read(ref _kickMask);
        if (queue >= (uint)_queues.Length)
        {
            Refuse("a kick of a queue that does not exist");
            return;
        }
        try
        {
            _queues[queue].Kick.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The device was removed while this access was under way.
        }
    }

    private bool IsRegisterAccess(ulong offset, int width)
    {
        if (width == sizeof(uint) && offset % sizeof(uint) == 0) return true;
        Refuse("a register access that is not 4 aligned bytes (virtio 1.2 § 4.2.2.2)");
        return false;
    }

    private void Refuse(string what)
    {
        if (Interlocked.Increment(ref _refused) == 1)
            _device.Logger.LogWarning("{Device}: the driver tried {What}: ignored (later ones are counted, not logged)",
                _device.Name, what);
    }
}
