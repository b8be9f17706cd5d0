using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

public sealed class UntrustedEventFdTests
{
    [Fact]
    public void A_signal_reaches_whoever_shares_the_counter()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedEventFd.TryAdopt(Copy(theirs), out UntrustedEventFd? ours));
        using (ours)
        {
            ours.Signal();
            ours.Signal();
            Assert.True(theirs.TryRead(out ulong count));
            Assert.Equal(2u, count);
        }
    }

    [Fact]
    public async Task A_counter_that_is_full_and_made_blocking_holds_nobody_up()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedEventFd.TryAdopt(Copy(theirs), out UntrustedEventFd? ours));
        using (ours)
        {
            theirs.Signal(ulong.MaxValue - 1);
            FileFlags.MakeBlocking(theirs.Number);
            Task signals = Task.Run(() =>
            {
                ours.Signal();
                ours.Signal();
            }, TestContext.Current.CancellationToken);
            await signals.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public void A_signal_after_the_end_is_nothing()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedEventFd.TryAdopt(Copy(theirs), out UntrustedEventFd? ours));
        ours.Dispose();
        ours.Signal();
        Assert.False(theirs.TryRead(out _));
    }

    [Fact]
    public void Only_an_eventfd_is_adopted()
    {
        string path = Path.GetTempFileName();
        using FileStream file = File.OpenWrite(path);
        int fd = (int)file.SafeFileHandle.DangerousGetHandle();
        Assert.False(UntrustedEventFd.TryAdopt(fd, out _));
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        Assert.False(UntrustedEventFd.TryAdopt(a.Number, out _));
        a.Dispose();
        b.Dispose();
        File.Delete(path);
    }

    /// <summary>A second descriptor of the same counter that nobody closes but its adopter.</summary>
    private static int Copy(EventFd fd)
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        using (b)
        using (ReceivedFds received = new())
        {
            a.Send([0], [fd.Number], out _);
            b.Receive(new byte[1], received);
            return received.Take(0);
        }
    }
}
