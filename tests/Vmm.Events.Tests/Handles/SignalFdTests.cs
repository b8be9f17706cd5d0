using System.Runtime.InteropServices;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Signals sent to the whole test process: such as do it no harm if they are missed.</summary>
[Collection(Alone.Name)]
public sealed class SignalFdTests : ReactorSuite
{
    private const int WindowChanged = 28;
    // Not SIGHUP, SIGINT or SIGQUIT: under nohup or in a shell's background they are ignored from the start, and stay so.
    private const int Continue = 18;
    private const int User1 = 10;

    [Fact]
    public void A_signal_reaches_its_handler_and_does_not_end_the_process()
    {
        List<PosixSignal> got = [];
        Interest.Readable.WithFd(new SignalFd(PosixSignal.SIGCONT, (PosixSignal)User1)).WithHandler((SignalFd fd) =>
        {
            while (fd.TryRead(out PosixSignal signal)) got.Add(signal);
        }).RegisterInto(Reactor);
        Send(Continue);
        RunUntil(() => got.Count == 1);
        Send(User1);
        RunUntil(() => got.Count == 2);
        Assert.Equal([PosixSignal.SIGCONT, (PosixSignal)User1], got);
        Assert.Equal(0, Turn());
    }

    [Fact]
    public void A_handler_that_reads_one_of_two_is_called_again()
    {
        List<PosixSignal> got = [];
        Interest.Readable.WithFd(new SignalFd(PosixSignal.SIGWINCH, (PosixSignal)User1)).WithHandler((SignalFd fd) =>
        {
            if (fd.TryRead(out PosixSignal signal)) got.Add(signal);
        }).RegisterInto(Reactor);
        Send(WindowChanged);
        Send(User1);
        RunUntil(() => got.Count == 2);
        Assert.Equal([PosixSignal.SIGWINCH, (PosixSignal)User1], got.Order());
    }

    [Fact]
    public void The_runtime_still_collects_children_while_their_signal_is_watched()
    {
        int calls = 0;
        Interest.Readable.WithFd(new SignalFd(PosixSignal.SIGCHLD)).WithHandler((SignalFd fd) =>
        {
            while (fd.TryRead(out PosixSignal _)) calls++;
        }).RegisterInto(Reactor);
        using System.Diagnostics.Process child = System.Diagnostics.Process.Start("/bin/true");
        RunUntil(() => calls > 0);
        Assert.True(child.WaitForExit(Patience));
        Assert.Equal(0, child.ExitCode);
    }

    [Fact]
    public void A_removed_subscription_gives_its_signals_back()
    {
        Subscription<SignalFd> subscription = Interest.Readable.WithFd(new SignalFd(PosixSignal.SIGWINCH)).WithHandler((SignalFd _) => { })
            .RegisterInto(Reactor);
        Assert.True(Reactor.Remove(subscription));
        Send(WindowChanged);
        Assert.Throws<ObjectDisposedException>(() => subscription.Fd.TryRead(out _));
    }

    [Fact]
    public void No_signal_and_one_that_cannot_be_handled_are_refused()
    {
        const int kill = 9;
        Assert.Throws<ArgumentException>(() => new SignalFd());
        Assert.ThrowsAny<Exception>(() => new SignalFd((PosixSignal)kill));
        Assert.ThrowsAny<Exception>(() => new SignalFd(PosixSignal.SIGWINCH, (PosixSignal)1000));
    }

    private void RunUntil(Func<bool> condition)
    {
        long start = Environment.TickCount64;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 - start < Patience.TotalMilliseconds, "the signal did not arrive");
            Reactor.RunOnce(TimeSpan.FromMilliseconds(100));
        }
    }

    private static void Send(int signal) => Assert.Equal(0, Posix.Kill(Posix.ProcessId(), signal));
}
