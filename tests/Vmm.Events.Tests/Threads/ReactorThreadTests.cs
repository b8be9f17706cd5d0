using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public sealed class ReactorThreadTests
{
    private static readonly TimeSpan Patience = ReactorSuite.Patience;
    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public void A_started_thread_owns_its_reactor_and_bears_its_name()
    {
        using ReactorThread thread = new(new ReactorOptions { Name = "disk-io" });
        thread.Start();
        Assert.Equal("disk-io", thread.Remote.Invoke(_ => Thread.CurrentThread.Name, Patience, TestEnd));
        Assert.Contains("disk-io", Directory.EnumerateDirectories("/proc/self/task").Select(task => ReadOrNothing($"{task}/comm")));
        Assert.Throws<InvalidOperationException>(() => thread.Reactor.Statistics);
    }

    [Fact]
    public void What_is_posted_before_the_start_runs_after_it()
    {
        using ReactorThread thread = new();
        using ManualResetEventSlim ran = new();
        thread.Remote.Post(_ => ran.Set());
        thread.Start();
        Assert.True(ran.Wait(Patience, TestEnd));
    }

    [Fact]
    public void A_thread_is_started_once()
    {
        using ReactorThread thread = new();
        thread.Start();
        Assert.Throws<InvalidOperationException>(thread.Start);
        thread.Dispose();
        Assert.Throws<ObjectDisposedException>(thread.Start);
    }

    [Fact]
    public void Stop_waits_for_the_thread_and_leaves_what_it_watched_to_the_caller()
    {
        using ReactorThread thread = new();
        EventFd kick = new();
        thread.Start();
        thread.Remote.Invoke(reactor => { Interest.Doorbell.WithFd(kick).WithHandler(_ => { }).RegisterInto(reactor); }, Patience, TestEnd);
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
        ReactorThread thread = new();
        thread.Start();
        thread.Remote.Invoke(reactor => { Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(reactor); }, Patience, TestEnd);
        thread.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        thread.Dispose();
        thread.RequestStop();
        ReactorThread unstarted = new();
        Thread other = new(unstarted.Dispose);
        other.Start();
        other.Join();
        Assert.True(unstarted.Completion.IsCompleted);
        Assert.Throws<ReactorStoppedException>(() => unstarted.Remote.Post(_ => { }));
    }

    [Fact]
    public async Task A_failure_that_stops_the_reactor_ends_the_thread_and_surfaces()
    {
        using ReactorThread thread = new(new ReactorOptions
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
        using ReactorThread thread = new();
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
        using ReactorThread thread = new(new ReactorOptions { Cpu = FirstAllowedCpu() });
        thread.Start();
        string status = thread.Remote.Invoke(_ => File.ReadAllText("/proc/thread-self/status"), Patience, TestEnd);
        Assert.Contains($"Cpus_allowed_list:\t{FirstAllowedCpu()}\n", status, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cpu_that_is_not_there_is_refused_at_the_start()
    {
        using ReactorThread thread = new(new ReactorOptions { Cpu = 1023 });
        KernelException refused = Assert.Throws<KernelException>(thread.Start);
        Assert.Equal(Errno.Invalid, refused.Errno);
        Assert.Contains("CPU 1023", refused.Message, StringComparison.Ordinal);
        Assert.True(thread.Completion.IsFaulted);
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorThread(new ReactorOptions { Cpu = -1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorThread(new ReactorOptions { Cpu = 1024 }));
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
