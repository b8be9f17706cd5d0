using System.Net;
using System.Net.Sockets;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>A reactor and its thread, on each poller.</summary>
public abstract class ReactorThreadTests : ReactorSuite
{
    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public void A_started_thread_owns_its_reactor_and_bears_its_name()
    {
        using ReactorThread thread = new(Options with { Name = "disk-io" });
        thread.Start();
        Assert.Equal("disk-io", thread.Remote.Invoke(_ => Thread.CurrentThread.Name, Patience, TestEnd));
        Assert.Contains("disk-io", Directory.EnumerateDirectories("/proc/self/task").Select(task => ReadOrNothing($"{task}/comm")));
        Assert.Throws<InvalidOperationException>(() => thread.Reactor.Statistics);
    }

    [Fact]
    public void What_is_posted_before_the_start_runs_after_it()
    {
        using ReactorThread thread = new(Options);
        using ManualResetEventSlim ran = new();
        thread.Remote.Post(_ => ran.Set());
        thread.Start();
        Assert.True(ran.Wait(Patience, TestEnd));
    }

    [Fact]
    public void I6_invoke_before_the_start_throws_on_the_thread_that_made_the_reactor_and_waits_for_the_start_on_any_other()
    {
        using ReactorThread thread = new(Options);
        Assert.Throws<InvalidOperationException>(() => thread.Remote.Invoke(_ => 1, cancellation: TestEnd));
        Assert.Throws<InvalidOperationException>(() => thread.Remote.Invoke(_ => { }, Patience, TestEnd));
        int result = 0;
        using ManualResetEventSlim isWaiting = new();
        Thread other = new(() =>
        {
            isWaiting.Set();
            result = thread.Remote.Invoke(_ => 42, cancellation: TestEnd);
        });
        other.Start();
        Assert.True(isWaiting.Wait(Patience, TestEnd));
        thread.Start();
        Assert.True(other.Join(Patience));
        Assert.Equal(42, result);
        Assert.Equal(1, thread.Remote.Invoke(_ => 1, Patience, TestEnd));
    }

    [Fact]
    public void A_thread_is_started_once()
    {
        using ReactorThread thread = new(Options);
        thread.Start();
        Assert.Throws<InvalidOperationException>(thread.Start);
        thread.Dispose();
        Assert.Throws<ObjectDisposedException>(thread.Start);
    }

    [Fact]
    public void Stop_waits_for_the_thread_and_leaves_what_it_watched_to_the_caller()
    {
        using ReactorThread thread = new(Options);
        EventFd kick = new();
        thread.Start();
        thread.Remote.Invoke(reactor => { Interest.Kick.WithFd(kick).WithHandler(_ => { }).RegisterInto(reactor); }, Patience, TestEnd);
        thread.Stop();
        Assert.True(thread.Completion.IsCompletedSuccessfully);
        Assert.Same(kick, Assert.Single(thread.Reactor.TakeApart()).Handle);
        thread.Stop();
        kick.Dispose();
    }

    [Fact]
    public void Dispose_closes_what_the_reactor_watched_and_can_come_twice_or_before_the_start()
    {
        using Pipe pipe = new();
        ReactorThread thread = new(Options);
        thread.Start();
        thread.Remote.Invoke(reactor => { Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(reactor); }, Patience, TestEnd);
        thread.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        thread.Dispose();
        thread.RequestStop();
        ReactorThread unstarted = new(Options);
        Thread other = new(unstarted.Dispose);
        other.Start();
        other.Join();
        Assert.True(unstarted.Completion.IsCompleted);
        Assert.Throws<ReactorStoppedException>(() => unstarted.Remote.Post(_ => { }));
    }

    [Fact]
    public void A_stop_before_the_start_waits_for_nothing_and_the_thread_then_ends_at_once()
    {
        using ReactorThread thread = new(Options);
        thread.Stop();
        Assert.False(thread.Completion.IsCompleted);
        thread.Start();
        thread.Stop();
        Assert.True(thread.Completion.IsCompletedSuccessfully);
    }

    [Fact]
    public async Task A_failure_that_stops_the_reactor_ends_the_thread_and_surfaces()
    {
        using ReactorThread thread = new(Options with
        {
            HandlerFailurePolicy = HandlerFailurePolicy.StopReactor,
            OnHandlerFailure = _ => { },
        });
        thread.Start();
        thread.Remote.Post(_ => throw new InvalidDataException("broken"));
        await Assert.ThrowsAsync<InvalidDataException>(() => thread.Completion.WaitAsync(Patience, TestEnd));
        Assert.Throws<ReactorStoppedException>(() => thread.Remote.Post(_ => { }));
        Assert.Equal("broken", Assert.Throws<InvalidDataException>(thread.Stop).Message);
    }

    [Fact]
    public void A_handler_may_request_the_stop_but_not_wait_for_it()
    {
        using ReactorThread thread = new(Options);
        thread.Start();
        (Exception? stop, Exception? dispose) = thread.Remote.Invoke(
            _ => (Record.Exception(thread.Stop), Record.Exception(thread.Dispose)), Patience, TestEnd);
        Assert.IsType<InvalidOperationException>(stop);
        Assert.IsType<InvalidOperationException>(dispose);
        thread.Stop();
    }

    [Fact]
    public void A_thread_that_is_pinned_runs_on_its_cpu()
    {
        using ReactorThread thread = new(Options with { Cpu = FirstAllowedCpu() });
        thread.Start();
        string status = thread.Remote.Invoke(_ => File.ReadAllText("/proc/thread-self/status"), Patience, TestEnd);
        Assert.Contains($"Cpus_allowed_list:\t{FirstAllowedCpu()}\n", status, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cpu_that_is_not_there_is_refused_at_the_start()
    {
        using ReactorThread thread = new(Options with { Cpu = 1023 });
        KernelException refused = Assert.Throws<KernelException>(thread.Start);
        Assert.Equal(Errno.Invalid, refused.Errno);
        Assert.Contains("CPU 1023", refused.Message, StringComparison.Ordinal);
        Assert.True(thread.Completion.IsFaulted);
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorThread(Options with { Cpu = -1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorThread(Options with { Cpu = 1024 }));
    }

    [Fact]
    public void Whatever_a_thread_watched_is_closed_when_its_dispose_returns()
    {
        const int count = 300;
        Pipe[] pipes = [.. Enumerable.Range(0, count).Select(_ => new Pipe())];
        ReactorThread thread = new(Options);
        thread.Start();
        thread.Remote.Invoke(reactor =>
        {
            for (int i = 0; i < count; i++)
            {
                Interest interest = i % 2 == 0 ? Interest.Readable : Interest.Readable.EdgeTriggered;
                interest.WithFd(pipes[i].Read).WithHandler((OwnedFd _) => { }).RegisterInto(reactor);
            }
        }, Patience, TestEnd);
        // Some have an event on its way when the thread ends.
        for (int i = 0; i < count; i += 5) pipes[i].Fill();
        thread.Dispose();
        int open = pipes.Count(pipe => pipe.IsReadEndOpen);
        foreach (Pipe pipe in pipes) pipe.Dispose();
        Assert.Equal(0, open);
    }

    [Fact]
    public void A_port_that_a_thread_listened_on_is_free_when_its_dispose_returns()
    {
        for (int round = 0; round < 50; round++)
        {
            using ReactorThread thread = new(Options);
            thread.Start();
            IPEndPoint address = thread.Remote.Invoke(reactor =>
            {
                using Socket listener = Listen(new IPEndPoint(IPAddress.Loopback, 0));
                OwnedFd fd = Rings.RingTable.DuplicateOf(listener);
                Interest.Readable.WithFd(fd).WithHandler((OwnedFd _) => { }).RegisterInto(reactor);
                return (IPEndPoint)listener.LocalEndPoint!;
            }, Patience, TestEnd);
            thread.Dispose();
            using Socket again = Listen(address);
            Assert.True(again.IsBound);
        }

        // Two sockets cannot listen on the same port, whatever SO_REUSEADDR says (socket(7)).
        static Socket Listen(IPEndPoint address)
        {
            Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(address);
            socket.Listen(1);
            return socket;
        }
    }

    private static int FirstAllowedCpu()
    {
        string list = File.ReadLines("/proc/self/status").First(line => line.StartsWith("Cpus_allowed_list", StringComparison.Ordinal));
        return int.Parse(list.Split('\t')[1].Split(',', '-')[0], System.Globalization.CultureInfo.InvariantCulture);
    }

    private static string ReadOrNothing(string path)
    {
        try
        {
            return File.ReadAllText(path).TrimEnd();
        }
        catch (IOException)
        {
            return "";
        }
    }
}

public sealed class ReactorThreadOnEpollTests : ReactorThreadTests;

public sealed class ReactorThreadOnIoRingTests : ReactorThreadTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
