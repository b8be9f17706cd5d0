using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>A ring whose reactor is run by one thread and disposed by another.</summary>
public abstract class RingOnThreadTests(PollerKind poller)
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void What_is_in_flight_when_the_run_ends_is_cancelled_and_another_thread_may_dispose(RingEngine engine)
    {
        using SlabPool pool = new();
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        RingOperation<BufferResult> reading = default;
        ReactorThread thread = new(new ReactorOptions { Poller = poller });
        thread.Start();
        thread.Remote.Invoke(reactor =>
        {
            IoRing ring = new(reactor, new RingOptions { Engine = engine });
            reading = ring.Read(ring.Register(readEnd), pool.Rent(512));
            ring.Flush();
        }, ReactorSuite.Patience, TestContext.Current.CancellationToken);
        thread.Dispose();
        BufferResult read = reading.GetAwaiter().GetResult();
        Assert.True(read.Result.IsCanceled, $"{read.Result}");
        read.Buffer.Release();
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void Tasks_end_on_the_thread_that_ran_them(RingEngine engine)
    {
        using SlabPool pool = new();
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        Thread? ran = null;
        Thread? ended = null;
        ReactorThread thread = new(new ReactorOptions { Poller = poller });
        thread.Start();
        thread.Remote.Invoke(reactor =>
        {
            ran = Thread.CurrentThread;
            IoRing ring = new(reactor, new RingOptions { Engine = engine });
            RingFile pipe = ring.Register(readEnd);
            ReactorTasks.Of(reactor).Spawn(async () =>
            {
                try
                {
                    (await ring.Read(pipe, pool.Rent(512))).Buffer.Release();
                }
                finally
                {
                    ended = Thread.CurrentThread;
                }
            }).Detach();
        }, ReactorSuite.Patience, TestContext.Current.CancellationToken);
        thread.Dispose();
        Assert.NotNull(ended);
        Assert.Same(ran, ended);
        Assert.Equal(0, pool.Statistics.Outstanding);
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_is_in_flight_when_a_thread_that_ran_a_reactor_by_hand_ends_is_given_up_and_said(RingEngine engine)
    {
        SlabPool pool = new();
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        List<HandlerFailure> failures = [];
        RingOperation<BufferResult> reading = default;
        Reactor? reactor = null;
        Thread runner = new(() =>
        {
            reactor = new Reactor(new ReactorOptions { OnHandlerFailure = failures.Add, Poller = poller });
            IoRing ring = new(reactor, new RingOptions { Engine = engine });
            reading = ring.Read(ring.Register(readEnd), pool.Rent(512));
            reactor.RunOnce(TimeSpan.Zero);
        });
        runner.Start();
        runner.Join();
        reactor!.Dispose();
        if (engine == RingEngine.Kernel)
        {
            // The kernel may still write to the buffer: it is never used again.
            Assert.Equal(Errno.Exists, Assert.IsType<KernelException>(Assert.Single(failures).Exception).Errno);
            Assert.False(reading.IsCompleted);
            Assert.Equal(1, pool.Statistics.Outstanding);
        }
        else
        {
            Assert.Empty(failures);
            reading.GetAwaiter().GetResult().Buffer.Release();
        }
        writeEnd.Dispose();
        readEnd.Dispose();
    }
}

public sealed class RingOnThreadOnEpollTests() : RingOnThreadTests(PollerKind.Epoll);

public sealed class RingOnThreadOnIoRingTests() : RingOnThreadTests(PollerKind.IoRing);
