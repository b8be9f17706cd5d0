using Moq;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Events.Tests;

/// <summary>Timers, tasks, rings and calls of a mocked reactor: real ones, that the test turns by hand.</summary>
public sealed class ReactorStandInTests
{
    private readonly Mock<IReactor> _reactor = new(MockBehavior.Strict);
    private readonly ManualClock _clock = new();

    private ReactorOptions OnClock => new() { TimeProvider = _clock };

    [Fact]
    public void A_mock_with_nothing_behind_it_has_no_timers_tasks_or_rings_and_says_what_to_do()
    {
        foreach (Action of in (Action[])[() => ReactorTimers.Of(_reactor.Object), () => ReactorTasks.Of(_reactor.Object), () => IoRing.Of(_reactor.Object)])
            Assert.Contains(nameof(ReactorStandIn), Assert.Throws<ArgumentException>(of).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_timer_of_a_mocked_reactor_is_due_when_the_tests_clock_says_and_its_handler_gets_the_mock()
    {
        using ReactorStandIn behind = new(_reactor.Object, OnClock);
        IReactor? given = null;
        ReactorTimer timer = ReactorTimers.Of(_reactor.Object).Create((_, reactor) => given = reactor);
        timer.Arm(TimeSpan.FromSeconds(5));
        behind.Turn();
        Assert.Null(given);
        _clock.Advance(TimeSpan.FromSeconds(5));
        behind.Turn();
        Assert.Same(_reactor.Object, given);
    }

    [Fact]
    public void What_a_timers_handler_adds_goes_to_the_mock()
    {
        using ReactorStandIn behind = new(_reactor.Object, OnClock);
        using EventFd fd = new();
        Subscription<EventFd> source = Interest.Readable.WithFd(fd).WithHandler(_ => { });
        _reactor.Setup(reactor => reactor.Add(source));
        ReactorTimers.Of(_reactor.Object).Create((_, reactor) => reactor.Add(source)).Arm(TimeSpan.Zero);
        behind.Turn(TimeSpan.FromSeconds(30));
        _reactor.VerifyAll();
        Assert.False(source.IsRegistered);
    }

    [Fact]
    public void Tasks_and_rings_of_a_mocked_reactor_run_in_the_turns_of_the_test()
    {
        using ReactorStandIn behind = new(_reactor.Object);
        using SlabPool pool = new();
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "abc");
        using OwnedFd fd = Rings.RingTable.Open(path);
        Assert.Same(_reactor.Object, ReactorTasks.Of(_reactor.Object).Reactor);
        ReactorTask<int> reading = ReactorTasks.Of(_reactor.Object).Spawn(async () =>
        {
            IoRing ring = IoRing.Of(_reactor.Object);
            using RingFile file = ring.Register(fd);
            BufferResult read = await ring.Read(file, pool.Rent(512), 0);
            read.Buffer.Release();
            return read.Result.Count;
        });
        while (!reading.IsCompleted) behind.Turn(TimeSpan.FromSeconds(1));
        Assert.Equal(3, reading.GetAwaiter().GetResult());
        File.Delete(path);
    }

    [Fact]
    public void A_posted_call_gets_the_mock()
    {
        using ReactorStandIn behind = new(_reactor.Object);
        IReactor? given = null;
        behind.Remote.Post(reactor => given = reactor);
        Assert.Equal(1, behind.Turn());
        Assert.Same(_reactor.Object, given);
    }

    [Fact]
    public void A_real_reactor_and_a_second_one_behind_the_same_mock_are_refused()
    {
        using Reactor real = new();
        Assert.Throws<ArgumentException>(() => new ReactorStandIn(real));
        using (ReactorStandIn first = new(_reactor.Object)) Assert.Throws<ArgumentException>(() => new ReactorStandIn(_reactor.Object));
        using ReactorStandIn again = new(_reactor.Object);
        Assert.Equal(0, again.Turn());
    }

    [Fact]
    public void A_handler_signals_and_reads_a_mocked_eventfd()
    {
        Mock<IEventCounter> counter = new(MockBehavior.Strict);
        ulong five = 5;
        counter.Setup(each => each.Signal(3));
        counter.Setup(each => each.TryRead(out five)).Returns(true);
        EventFd fd = EventFd.Of(counter.Object);
        int calls = 0;
        Subscription<EventFd> counting = Interest.Readable.WithFd(fd).WithCountingHandler((given, count, reactor) =>
        {
            Assert.Equal((fd, 5UL), (given, count));
            Assert.Same(_reactor.Object, reactor);
            given.Signal(3);
            calls++;
        });
        counting.Dispatch(Readiness.Of(readable: true), _reactor.Object);
        Assert.Equal(1, calls);
        counter.VerifyAll();
        using Reactor real = new();
        Assert.Equal(Errno.BadDescriptor, Assert.Throws<KernelException>(() => real.Add(counting)).Errno);
        fd.Dispose();
        Assert.Throws<ObjectDisposedException>(() => fd.Signal());
    }

    [Fact]
    public void What_a_mocked_eventfd_throws_comes_out_of_the_signal()
    {
        Mock<IEventCounter> counter = new();
        counter.Setup(each => each.Signal(It.IsAny<ulong>())).Throws(new KernelException("cannot signal", Errno.NoMemory));
        Assert.Equal(Errno.NoMemory, Assert.Throws<KernelException>(() => EventFd.Of(counter.Object).Signal()).Errno);
    }
}
