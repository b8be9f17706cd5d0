namespace Vmm.EndToEnd;

/// <summary>A <c>vmm serve</c> that is killed and started again, however the test ends.</summary>
internal sealed class RestartedVmm : IDisposable
{
    /// <summary>QEMU's name for the guest's memory.</summary>
    private const string GuestMemory = "memory-backend-memfd";

    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(5);

    private readonly string[] _wrapper;
    private readonly string[] _arguments;
    private readonly string _listening;

    /// <param name="wrapper">A command to run the tool under; empty for none.</param>
    /// <param name="listening">What it prints when it listens.</param>
    /// <param name="arguments">The tool's own arguments.</param>
    internal RestartedVmm(string[] wrapper, string listening, params string[] arguments)
    {
        (_wrapper, _listening, _arguments) = (wrapper, listening, arguments);
        Current = Start();
    }

    internal VmmProcess Current { get; private set; }

    internal int Kills { get; private set; }

    internal void KillAndStartAgain()
    {
        Current.Signal("KILL");
        Current.WaitForExit();
        Current.Dispose();
        Kills++;
        Current = Start();
    }

    /// <summary>
    /// Waits until the front-end has handed over the guest's memory, so that it connects again when this process goes: QEMU 7.2's disks do not, ever, after one
    /// that went between their connection and its answer to their first requests (docs/vhost-user.md).
    /// </summary>
    /// <returns>False if the guest ended before.</returns>
    internal bool WaitUntilInUse(LinuxGuest guest)
    {
        bool Maps() => File.ReadLines($"/proc/{Current.Id}/maps").Any(line => line.Contains(GuestMemory, StringComparison.Ordinal));
        Assert.True(SpinWait.SpinUntil(() => guest.HasEnded || Maps(), Watchdog), $"nobody uses the device.\nconsole: {string.Join('\n', guest.Console)}");
        return !guest.HasEnded;
    }

    public void Dispose() => Current.Dispose();

    private VmmProcess Start()
    {
        VmmProcess vmm = new(_wrapper, _arguments);
        try
        {
            vmm.WaitFor(_listening);
            return vmm;
        }
        catch
        {
            vmm.Dispose();
            throw;
        }
    }
}
