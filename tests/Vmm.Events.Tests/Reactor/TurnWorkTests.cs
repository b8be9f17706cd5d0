using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Work at the end of a turn that makes more work: the descriptors get their turn all the same.</summary>
public abstract class TurnWorkTests : ReactorSuite
{
    /// <summary>The reactor's bound of rounds, and how much work it does between two looks at the clock.</summary>
    private const int RoundsMax = 32, WorkPerLook = 32;

    [Fact]
    public void Rounds_of_little_work_are_bounded_by_their_number()
    {
        Endless work = new(() => 1);
        Reactor.Work.Attach(work);
        work.Request();
        Turn();
        // What was requested before the turn, and what that requested at its end.
        Assert.Equal(2 * RoundsMax, work.Rounds);
        Turn();
        Assert.Equal(4 * RoundsMax, work.Rounds);
    }

    [Fact]
    public void Rounds_of_much_work_that_take_long_are_bounded_by_the_clock()
    {
        Endless work = new(UntilTheClockMoves);
        Reactor.Work.Attach(work);
        work.Request();
        Turn();
        // The first round has the bound begin and the second one reaches it, before the wait and after it.
        Assert.Equal(4, work.Rounds);

        static int UntilTheClockMoves()
        {
            long atStart = Environment.TickCount64;
            while (Environment.TickCount64 == atStart) Thread.SpinWait(10);
            return WorkPerLook;
        }
    }

    [Fact]
    public void A_descriptor_is_handled_while_there_is_more_work()
    {
        int calls = 0;
        Endless work = new(() => 1);
        Reactor.Work.Attach(work);
        WatchRaised((_, _) => calls++, Interest.Kick);
        work.Request();
        Turn();
        Assert.Equal(1, calls);
    }

    /// <summary>Requests another round in each.</summary>
    private sealed class Endless(Func<int> run) : TurnWork(RingsOrder)
    {
        internal int Rounds { get; private set; }

        internal override int Run()
        {
            Rounds++;
            Request();
            return run();
        }

        internal override void ReactorEnding()
        {
        }
    }
}

public sealed class TurnWorkOnEpollTests : TurnWorkTests;

public sealed class TurnWorkOnIoRingTests : TurnWorkTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
