using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Several reactors, each on its thread, on each poller.</summary>
public abstract class ReactorGroupTests : ReactorSuite
{
    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public void Reactors_run_on_threads_of_their_own_and_are_found_by_index_and_by_name()
    {
        using ReactorGroup group = new(3, index => Options with { Name = $"queue-{index}" });
        group.Start();
        Assert.Equal(3, group.Count);
        Assert.Same(group[1], group["queue-1"]);
        Assert.Equal(3, group.Select(thread => thread.Remote.Invoke(_ => Environment.CurrentManagedThreadId, Patience, TestEnd)).Distinct().Count());
        Assert.Contains("queue-2", Assert.Throws<KeyNotFoundException>(() => group["net"]).Message, StringComparison.Ordinal);
        Assert.Throws<IndexOutOfRangeException>(() => group[3]);
    }

    [Fact]
    public void Default_names_tell_the_reactors_apart()
    {
        using ReactorGroup group = new(2);
        Assert.Equal(["reactor-0", "reactor-1"], group.Select(thread => thread.Name));
    }

    [Fact]
    public async Task A_group_whose_reactors_ran_well_stops_without_a_word_and_what_they_watched_stays_open()
    {
        using ReactorGroup group = new(2, index => Options with { Name = $"queue-{index}" });
        EventFd kick = new();
        group.Start();
        Subscription<EventFd> watch = Interest.Kick.WithFd(kick).WithHandler(_ => { });
        group[1].Remote.Invoke(reactor => reactor.Add(watch), Patience, TestEnd);
        group.Stop();
        group.Stop();
        await group.Completion.WaitAsync(Patience, TestEnd);
        Assert.False(kick.IsClosed);
        group.Dispose();
        Assert.True(kick.IsClosed);
    }

    [Fact]
    public void Senseless_groups_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorGroup(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReactorGroup(ReactorGroup.CountMax + 1));
        Assert.Throws<ArgumentException>(() => new ReactorGroup(2, _ => Options with { Name = "twin" }));
    }

    [Fact]
    public async Task A_reactor_that_fails_leaves_the_others_running_and_its_failure_surfaces()
    {
        using ReactorGroup group = new(2, index => Options with
        {
            Name = $"r{index}",
            HandlerFailurePolicy = HandlerFailurePolicy.StopReactor,
            OnHandlerFailure = _ => { },
        });
        group.Start();
        group[0].Remote.Post(_ => throw new InvalidDataException());
        await Assert.ThrowsAsync<InvalidDataException>(() => group[0].Completion.WaitAsync(Patience, TestEnd));
        Assert.Equal(7, group[1].Remote.Invoke(_ => 7, Patience, TestEnd));
        Assert.IsType<InvalidDataException>(Assert.Single(Assert.Throws<AggregateException>(group.Stop).InnerExceptions));
        await Assert.ThrowsAsync<InvalidDataException>(() => group.Completion.WaitAsync(Patience, TestEnd));
    }

    [Fact]
    public void A_group_is_alive_until_one_of_its_reactors_does_not_answer()
    {
        using ReactorGroup group = new(2, index => Options with { Name = $"r{index}" });
        using ManualResetEventSlim hangs = new();
        group.Start();
        Assert.True(group.IsAlive(Patience));
        group[1].Remote.Post(_ => hangs.Wait(TestEnd));
        Assert.False(group.IsAlive(TimeSpan.FromMilliseconds(50)));
        hangs.Set();
        Assert.True(group.IsAlive(Patience));
        group.Stop();
        Assert.False(group.IsAlive(Patience));
    }

    [Fact]
    public void A_start_that_fails_half_way_stops_those_that_had_started()
    {
        // Many times, as the failed thread and the one that started it race to tell and to look.
        for (int round = 0; round < 200; round++)
        {
            using ReactorGroup group = new(2, index => Options with { Name = $"r{index}", Cpu = index == 1 ? 1023 : null });
            Assert.Throws<KernelException>(group.Start);
            Assert.True(group[0].Completion.IsCompletedSuccessfully);
            Assert.True(group[1].Completion.IsFaulted);
        }
    }

    [Fact]
    public void A_member_cannot_stop_its_own_group()
    {
        using ReactorGroup group = new(2, Numbered);
        group.Start();
        Assert.IsType<InvalidOperationException>(group[1].Remote.Invoke(_ => Record.Exception(group.Stop), Patience, TestEnd));
        Assert.Equal(1, group[0].Remote.Invoke(_ => 1, Patience, TestEnd));
    }

    [Fact]
    public async Task Dispose_joins_every_thread()
    {
        ReactorGroup group = new(4, Numbered);
        group.Start();
        group.Dispose();
        group.Dispose();
        Assert.All(group, thread => Assert.True(thread.Completion.IsCompletedSuccessfully));
        await group.Completion;
    }

    private ReactorOptions Numbered(int index) => Options with { Name = $"reactor-{index}" };
}

public sealed class ReactorGroupOnEpollTests : ReactorGroupTests;

public sealed class ReactorGroupOnIoRingTests : ReactorGroupTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
