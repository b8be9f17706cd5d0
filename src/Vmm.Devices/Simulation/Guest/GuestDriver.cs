using System.Runtime.CompilerServices;

namespace Vmm.Devices.Simulation;

/// <summary>A driver of the guest's kernel for one virtio device.</summary>
internal abstract class GuestDriver(GuestTransport transport, string name)
{
    private const uint UsedBuffers = 1;
    private const uint ConfigChange = 2;

    /// <summary>What the shell calls the device.</summary>
    internal string Name => name;

    internal GuestTransport Transport => transport;

    /// <summary>Interrupts of the device. On CPU 0.</summary>
    internal long Interrupts { get; private set; }

    /// <summary>Whether the device said that it can't go on.</summary>
    internal bool IsBroken { get; private set; }

    /// <summary>What <c>lsdev</c> says of it after its name.</summary>
    internal abstract string Description { get; }

    /// <summary>What <c>stats</c> says of it after its name.</summary>
    internal abstract string Statistics { get; }

    /// <summary>The driver for a device; null if this guest has none.</summary>
    internal static GuestDriver? For(GuestTransport transport, IReadOnlyList<GuestDriver> others) => transport.Type switch
    {
        VirtioDeviceType.Block => new GuestDisk(transport, BlockDevice.NameOf(others.Count(other => other is GuestDisk))),
        VirtioDeviceType.Entropy => new GuestEntropy(transport, $"rng{others.Count(other => other is GuestEntropy)}"),
        VirtioDeviceType.Console => new GuestPorts(transport, $"console{others.Count(other => other is GuestPorts)}"),
        VirtioDeviceType.Socket => new GuestVsock(transport, $"vsock{others.Count(other => other is GuestVsock)}"),
        VirtioDeviceType.Network => new GuestNet(transport, $"net{others.Count(other => other is GuestNet)}"),
        VirtioDeviceType.Balloon => new GuestBalloon(transport, $"balloon{others.Count(other => other is GuestBalloon)}"),
        _ => null,
    };

    /// <summary>Brings the device up. On CPU 0.</summary>
    /// <returns>Null if it is up; else a sentence.</returns>
    internal abstract ValueTask<string?> Start(KernelCpu kernel);

    /// <summary>Whether an interrupt found something that takes longer than an interrupt should. On CPU 0.</summary>
    internal bool HasWork { get; private protected set; }

    /// <summary>
    /// Does the work that <see cref="HasWork"/> reports. On CPU 0, outside of interrupts, when the shell waits for its next line.
    /// </summary>
    internal virtual ValueTask Work(KernelCpu kernel) => default;

    /// <summary>Waits until something is so; the device is served meanwhile. On CPU 0.</summary>
    /// <returns>False if it was aborted, or the device can't go on.</returns>
    internal async ValueTask<bool> WaitUntil(KernelCpu kernel, Func<bool> condition)
    {
        while (true)
        {
            while (HasWork) await Work(kernel);
            if (condition()) return true;
            if (IsBroken || kernel.Kernel.Console.AbortRequested) return false;
            await kernel.WaitForInterrupt();
        }
    }

    /// <summary>Takes the device down: it touches no memory after this. On CPU 0.</summary>
    internal ValueTask Stop(KernelCpu kernel) => transport.Reset();

    /// <summary>The device's interrupt. On CPU 0.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    internal async ValueTask OnInterrupt(KernelCpu kernel)
    {
        Interrupts++;
        uint reasons = await transport.TakeInterruptReasons();
        if ((reasons & UsedBuffers) != 0) OnUsedBuffers(kernel);
        if ((reasons & ConfigChange) == 0) return;
        if (await transport.NeedsReset())
        {
            IsBroken = true;
            OnUsedBuffers(kernel);
        }
        else OnConfigChanged();
    }

    /// <summary>Whether a feature was negotiated.</summary>
    private protected bool Has(ulong feature) => (transport.Features & feature) != 0;

    /// <summary>Some queue has used buffers, or the device broke: wakes what waits for that.</summary>
    protected abstract void OnUsedBuffers(KernelCpu kernel);

    /// <summary>The device's configuration space changed.</summary>
    protected virtual void OnConfigChanged()
    {
    }
}
