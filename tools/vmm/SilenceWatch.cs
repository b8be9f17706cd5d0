using Microsoft.Extensions.Logging;
using Vmm.Devices.Kvm;

namespace Vmm.Tool;

/// <summary>A guest that prints nothing is reported once, with where its first vCPU is and what it last did: a wrong kernel is silent for
/// ever.</summary>
internal sealed class SilenceWatch : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly KvmMachine _machine;
    private readonly Timer _timer;

    internal SilenceWatch(KvmMachine machine)
    {
        _machine = machine;
        _timer = new Timer(_ => Look(), null, Patience, Timeout.InfiniteTimeSpan);
    }

    public void Dispose()
    {
        // The machine must not be disposed while it is looked at.
        using ManualResetEvent done = new(false);
        if (_timer.Dispose(done)) done.WaitOne();
    }

    private void Look()
    {
        if (_machine.Host.Serials.Any(serial => serial.Backend.BytesOut > 0)) return;
        try
        {
            string place = _machine.DescribeVcpu(0);
            StandardError.Say(LogLevel.Warning,
                $"the guest printed nothing on its serial console in {Patience.TotalSeconds} s (its kernel's command line names it by "
                + $"console=ttyS0); vCPU 0 is at {place}");
        }
        catch (TimeoutException running)
        {
            StandardError.Say(LogLevel.Warning, $"the guest printed nothing in {Patience.TotalSeconds} s, and {running.Message}");
        }
    }
}
