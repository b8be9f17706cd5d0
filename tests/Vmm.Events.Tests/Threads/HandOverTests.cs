using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>A subscriber goes from one reactor to another while its descriptors are written to.</summary>
public abstract class HandOverTests : ReactorSuite
{
    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    private readonly ReactorGroup _group;
    private readonly Subscriber _device = new("device");

    protected HandOverTests()
    {
        _group = new ReactorGroup(2, index => Options with { Name = $"reactor-{index}" });
        _group.Start();
    }

    [Fact]
    public async Task No_event_is_lost_while_a_subscriber_goes_back_and_forth()
    {
        const int moves = 200;
        EventFd counted = new(), doorbell = new();
        ulong counts = 0, sent = 0;
        long rung = 0, heard = 0;
        int inHandler = 0, together = 0;
        _group[0].Remote.Post(reactor =>
        {
            Interest.Readable.WithFd(counted).WithCountingHandler((_, count, _) => Alone(() => counts += count)).OwnedBy(_device).RegisterInto(reactor);
            Interest.Kick.WithFd(doorbell).WithHandler(_ => Alone(() => Volatile.Write(ref heard, Volatile.Read(ref rung))))
                .OwnedBy(_device).RegisterInto(reactor);
        });
        using CancellationTokenSource enough = new();
        Thread producer = new(() =>
        {
            while (!enough.IsCancellationRequested)
            {
                counted.Signal();
                sent++;
                Interlocked.Increment(ref rung);
                doorbell.Signal();
                Thread.SpinWait(200);
            }
        });
        producer.Start();
        for (int move = 0; move < moves; move++)
            await _group[move % 2].Remote.HandOverAsync(_device, _group[(move + 1) % 2].Remote).WaitAsync(Patience, TestEnd);
        await enough.CancelAsync();
        producer.Join();

        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref counts) == sent && Volatile.Read(ref heard) == rung, Patience),
            $"{counts} of {sent} counted, rung {rung}, heard {heard}");
        Assert.Equal(0, together);

        void Alone(Action work)
        {
            if (Interlocked.Increment(ref inHandler) != 1) together++;
            work();
            Interlocked.Decrement(ref inHandler);
        }
    }

    [Fact]
    public async Task A_one_shot_that_had_fired_stays_silent_in_the_other_reactor_until_it_is_modified()
    {
        int calls = 0;
        using SemaphoreSlim called = new(0);
        Subscription<EventFd>? once = null;
        _group[0].Remote.Post(reactor => once = Interest.Readable.OneShot.WithFd(new EventFd(initial: 1)).WithHandler(_ =>
        {
            calls++;
            called.Release();
        }).OwnedBy(_device).RegisterInto(reactor));
        Assert.True(await called.WaitAsync(Patience, TestEnd));
        await _group[0].Remote.HandOverAsync(_device, _group[1].Remote);
        _group[1].Remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.Equal(1, calls);
        _group[1].Remote.Post(reactor => reactor.Modify(once!, once!.Interest));
        Assert.True(await called.WaitAsync(Patience, TestEnd));
    }

    [Fact]
    public async Task A_subscriber_that_is_not_in_the_reactor_is_not_handed_over()
    {
        _group[0].Remote.Invoke(Register, Patience, TestEnd);
        await Assert.ThrowsAsync<InvalidOperationException>(() => _group[1].Remote.HandOverAsync(_device, _group[0].Remote));
        Assert.Single(_device.Subscriptions);
    }

    [Fact]
    public async Task A_stopped_destination_leaves_the_subscriber_where_it_was()
    {
        using SemaphoreSlim called = new(0);
        EventFd kick = new();
        _group[0].Remote.Invoke(reactor =>
        {
            Interest.Kick.WithFd(kick).WithHandler(_ => called.Release()).OwnedBy(_device).RegisterInto(reactor);
        }, Patience, TestEnd);
        _group[1].Stop();
        await Assert.ThrowsAsync<ReactorStoppedException>(() => _group[0].Remote.HandOverAsync(_device, _group[1].Remote));
        kick.Signal();
        Assert.True(await called.WaitAsync(Patience, TestEnd));
    }

    [Fact]
    public async Task A_subscriber_of_which_neither_reactor_can_watch_a_source_any_more_ends_as_a_whole()
    {
        using Pipe pipe = new();
        EventFd lost = new();
        Subscription<OwnedFd> whole = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).OwnedBy(_device);
        Subscription<EventFd> broken = Interest.Readable.WithFd(lost).WithHandler(_ => { }).OwnedBy(_device);
        _group[0].Remote.Invoke(reactor =>
        {
            reactor.Add(whole);
            reactor.Add(broken);
        }, Patience, TestEnd);
        // A file of a disk, which cannot be polled, comes behind its number.
        using (FileStream file = new(Environment.ProcessPath!, FileMode.Open, FileAccess.Read))
            Assert.Equal(lost.Number, Posix.DuplicateTo((int)file.SafeFileHandle.DangerousGetHandle(), lost.Number));
        KernelException refused = await Assert.ThrowsAsync<KernelException>(
            () => _group[0].Remote.HandOverAsync(_device, _group[1].Remote).WaitAsync(Patience, TestEnd));
        Assert.Equal(Errno.NotPermitted, refused.Errno);
        Assert.False(pipe.IsReadEndOpen);
        Assert.True(lost.IsClosed);
        Assert.Empty(_device.Subscriptions);
    }

    [Fact]
    public async Task A_source_that_was_handed_over_and_removed_is_closed_at_once()
    {
        for (int round = 0; round < 50; round++)
        {
            using Pipe pipe = new();
            Subscription<OwnedFd> source = Interest.Readable.EdgeTriggered.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).OwnedBy(_device);
            _group[0].Remote.Invoke(reactor => reactor.Add(source), Patience, TestEnd);
            await _group[0].Remote.HandOverAsync(_device, _group[1].Remote).WaitAsync(Patience, TestEnd);
            _group[1].Remote.Invoke(reactor => { reactor.Remove(source); }, Patience, TestEnd);
            Assert.False(pipe.IsReadEndOpen);
        }
    }

    public override void Dispose()
    {
        _group.Dispose();
        _device.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }

    private void Register(IReactor reactor) => Interest.Kick.WithFd(new EventFd()).WithHandler(_ => { }).OwnedBy(_device).RegisterInto(reactor);
}

public sealed class HandOverOnEpollTests : HandOverTests;

public sealed class HandOverOnIoRingTests : HandOverTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
