using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

public abstract partial class VirtioDevice
{
    private const int ErrnoMax = 133;

    private readonly long[] _guestFaults = new long[Enum.GetValues<GuestFaultKind>().Length];
    private readonly long[] _hostFaults = new long[ErrnoMax + 1];

    /// <summary>Times the driver did something forbidden. Any thread.</summary>
    public long GuestFaults => _guestFaults.Sum();

    /// <summary>Times the host failed the device. Any thread.</summary>
    public long HostFaults => _hostFaults.Sum();

    /// <summary>
    /// Transport and queues: the driver did something forbidden. Counted, logged the first time for each kind, and the driver learns that
    /// the device needs a reset. Any thread.
    /// </summary>
    public void ReportGuestFault(GuestFault fault)
    {
        CountGuestFault(fault);
        Driver?.Interrupt.SignalNeedsReset();
    }

    /// <summary>
    /// The driver did something forbidden that the device answers by its own protocol, and goes on: counted, and logged the first time for
    /// each kind.
    /// </summary>
    protected void CountGuestFault(GuestFault fault)
    {
        if (Interlocked.Increment(ref _guestFaults[(int)fault.Kind]) == 1)
            Logger.LogWarning(DeviceEvents.GuestFault, "{Device}: guest fault: {Fault}", Name, fault.Text);
    }

    /// <summary>
    /// The host failed the device: a file, a socket. Counted, and logged the first time for each error; the guest gets an error status from
    /// the caller.
    /// </summary>
    /// <param name="error">What the host said.</param>
    /// <param name="what">What was asked of it: <c>cannot write to the disk</c>.</param>
    /// <param name="source">What failed, for the operator: the file, the socket.</param>
    protected internal void ReportHostFault(Errno error, string what, string source)
    {
        if (Interlocked.Increment(ref _hostFaults[Math.Clamp((int)error, 0, ErrnoMax)]) != 1) return;
        Logger.LogError(DeviceEvents.HostFault, "{Device}: {What}, {Source}: {Error} (further ones are counted, not logged)",
            Name, what, source, KernelException.Describe(error));
    }
}
