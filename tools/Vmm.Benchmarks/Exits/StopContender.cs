using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>Brings a vCPU's thread to a stand, and lets it go, again and again.</summary>
internal sealed class StopContender : IContender
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(10);

    private readonly IDisposable _machine;
    private readonly Func<uint> _progress;
    private readonly VcpuThread _thread;

    /// <param name="machine">What goes when the vCPU has ended.</param>
    /// <param name="vcpu">A vCPU that runs until it is asked out.</param>
    /// <param name="progress">Changes while it runs.</param>
    internal StopContender(IDisposable machine, IVcpu vcpu, Func<uint> progress)
    {
        _machine = machine;
        _progress = progress;
        _thread = new VcpuThread(vcpu, new Bus(), new Bus("port"), (_, _) => { });
        _thread.Start();
    }

    /// <summary>A guest in <c>again: inc dword [0x800]; jmp again</c>.</summary>
    internal static StopContender OfTightLoop()
    {
        const ulong counter = 0x800;
        BareMachine machine = new(RegisterReads.Address, [0xff, 0x05, 0x00, 0x08, 0x00, 0x00, 0xeb, 0xf8]);
        return new StopContender(machine, machine.Vcpu, () => machine.ReadWord(counter));
    }

    public void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            _thread.RequestPause();
            if (!_thread.WaitUntilPaused(Watchdog))
                throw new InvalidOperationException($"the vCPU did not come out within {Watchdog.TotalSeconds} s");
            uint before = _progress();
            _thread.Resume();
            while (_progress() == before) Thread.SpinWait(1);
        }
    }

    public void Dispose()
    {
        _thread.Dispose();
        _machine.Dispose();
    }
}
