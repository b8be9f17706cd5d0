using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

public abstract partial class VirtioDevice
{
    private readonly long[] _guestFaults = new long[Enum.GetValues<GuestFaultKind>().Length];
    private long _hostFaults;

    /// <summary>Times the driver did something forbidden. Any thread.</summary>
    public long GuestFaults => _guestFaults.Sum();

    /// <summary>Times the host failed the device. Any thread.</summary>
    public long HostFaults => Volatile.Read(ref _hostFaults);

    /// <summary>
    /// Transport and queues: the driver did something forbidden. Counted, logged the first time for each kind, and the driver is told that the
    /// device needs a reset. Any thread.
    /// </summary>
    public void ReportGuestFault(GuestFault fault)
    {
        if (Interlocked.Increment(ref _guestFaults[(int)fault.Kind]) == 1)
            Logger.LogWarning("{Device}: guest fault: {Fault}", Name, fault.Text);
        Activation?.Interrupt.SignalNeedsReset();
    }

    /// <summary>
    /// The host failed the device: a file, a socket. Counted, and logged if it is the first time; the guest gets an error status from the caller.
    /// </summary>
    /// <param name="sentence">What was asked, what the host said, and what to do.</param>
    protected void ReportHostFault(string sentence)
    {
        if (Interlocked.Increment(ref _hostFaults) == 1)
            Logger.LogError("{Device}: {Fault} (later failures are counted, not logged)", Name, sentence);
    }
}
