using System.Diagnostics;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

[Collection(Alone.Name)]
public sealed class PidFdTests : ReactorSuite
{
    [Fact]
    public void The_exit_of_a_child_is_an_event()
    {
        using Process child = Process.Start(new ProcessStartInfo("cat") { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        List<int> exited = [];
        Subscription<PidFd>? self = null;
        self = Interest.Readable.WithFd(new PidFd(child.Id)).WithHandler((PidFd fd, IReactor reactor) =>
        {
            exited.Add(fd.ProcessId);
            reactor.Remove(self!);
        }).RegisterInto(Reactor);
        Assert.Equal(0, Turn());
        child.StandardInput.Close();
        Assert.Equal(1, Reactor.RunOnce(Patience));
        Assert.Equal([child.Id], exited);
        Assert.True(child.WaitForExit(Patience));
        Assert.Equal(0, child.ExitCode);
        Assert.Equal(0, Turn());
    }

    [Fact]
    public void A_process_that_is_not_there_is_refused() =>
        Assert.Equal(Errno.NoProcess, Assert.Throws<KernelException>(() => new PidFd(int.MaxValue - 1)).Errno);
}
