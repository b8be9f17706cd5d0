using System.Diagnostics;
using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>A child process has a copy of a watched descriptor, and outlives what happens to ours.</summary>
public abstract class InheritedDescriptorTests : ReactorSuite
{
    private const int SetDescriptorFlags = 2; // F_SETFD: without FD_CLOEXEC a child inherits it

    /// <summary>A child that signals an eventfd of ours each time it is told to.</summary>
    protected sealed class Heir : IDisposable
    {
        private readonly Process _process;

        internal Heir(EventFd fd)
        {
            Assert.Equal(0, Libc.Fcntl(fd.Number, SetDescriptorFlags, 0));
            string signal = $"while read -r line; do printf '\\1\\0\\0\\0\\0\\0\\0\\0' >&{fd.Number}; echo done; done";
            _process = Process.Start(new ProcessStartInfo("bash", ["-c", signal]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        }

        internal void Signal()
        {
            _process.StandardInput.WriteLine();
            Assert.Equal("done", _process.StandardOutput.ReadLine());
        }

        public void Dispose()
        {
            _process.StandardInput.Close();
            Assert.True(_process.WaitForExit(Patience));
            _process.Dispose();
        }
    }

    [Fact]
    public void What_a_child_does_to_its_copy_is_heard_until_ours_is_removed()
    {
        int calls = 0;
        EventFd fd = new();
        Subscription<EventFd> subscription = Interest.Kick.WithFd(fd).WithHandler(_ => calls++).RegisterInto(Reactor);
        using Heir heir = new(fd);
        heir.Signal();
        Assert.Equal(1, Turn());
        Reactor.Remove(subscription);
        Assert.True(fd.IsClosed);
        heir.Signal();
        Assert.Equal(0, Turn());
        Assert.Equal((1, 0L), (calls, Reactor.Statistics.Ghosts));
    }
}

[Collection(Alone.Name)]
public sealed class InheritedDescriptorOnEpollTests : InheritedDescriptorTests
{
    // A ring watches the open file itself, and its removal needs no number.
    [Fact]
    public void What_is_closed_behind_the_reactors_back_haunts_it_through_a_child_until_it_is_healed()
    {
        EventFd fd = new();
        Subscription<EventFd> subscription = Interest.Readable.WithFd(fd).WithHandler(_ => { }).RegisterInto(Reactor);
        using Heir heir = new(fd);
        Assert.Equal(0, Posix.Close(fd.Number));
        Reactor.Remove(subscription);
        heir.Signal();
        Assert.Equal(0, Turn());
        Assert.Equal((1L, 1L), (Reactor.Statistics.Ghosts, Reactor.Statistics.Rebuilds));
        heir.Signal();
        Assert.Equal(0, Turn());
        Assert.Equal(1, Reactor.Statistics.Ghosts);
    }
}

[Collection(Alone.Name)]
public sealed class InheritedDescriptorOnIoRingTests : InheritedDescriptorTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
