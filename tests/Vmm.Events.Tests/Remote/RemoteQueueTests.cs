using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public sealed class RemoteQueueTests
{
    [Fact]
    public void Entries_come_out_in_the_order_they_went_in_and_can_go_in_again()
    {
        RemoteQueue queue = new();
        Entry[] entries = [.. Enumerable.Range(0, 5).Select(number => new Entry(number))];
        Assert.False(queue.HasEntry);
        Assert.Null(queue.Pop());
        for (int round = 0; round < 3; round++)
        {
            foreach (Entry entry in entries) queue.Push(entry);
            foreach (Entry entry in entries)
            {
                Assert.True(queue.HasEntry);
                Assert.Same(entry, queue.Pop());
            }
            Assert.False(queue.HasEntry);
            Assert.Null(queue.Pop());
        }
    }

    [Fact]
    public void One_entry_at_a_time_can_go_round_for_ever()
    {
        RemoteQueue queue = new();
        Entry only = new(0);
        for (int round = 0; round < 1000; round++)
        {
            queue.Push(only);
            Assert.Same(only, queue.Pop());
            Assert.Null(queue.Pop());
        }
    }

    [Fact]
    public void An_entry_whose_producer_is_not_done_is_seen_and_not_given()
    {
        RemoteQueue queue = new();
        Entry entry = new(0);
        Assert.True(queue.IsUntouched);
        RemoteCall previous = queue.TakePlace(entry);
        Assert.False(queue.IsUntouched);
        Assert.False(queue.HasEntry);
        Assert.Null(queue.Pop());
        RemoteQueue.Link(previous, entry);
        Assert.True(queue.HasEntry);
        Assert.Same(entry, queue.Pop());
        Assert.True(queue.IsUntouched);
    }

    /// <summary>
    /// Such a producer may have looked for a sleeper too early: the reactor sleeps for a moment only. It does sleep, as the producer may
    /// need its processor.
    /// </summary>
    [Fact]
    public void A_reactor_sleeps_shortly_while_a_producer_is_not_done()
    {
        using Reactor reactor = new();
        RemoteEndpoint remote = reactor.Remote;
        Assert.Equal(-1, remote.AnnounceSleep(-1));
        Assert.Equal(7000, remote.AnnounceSleep(7000));
        Entry entry = new(0);
        RemoteCall previous = remote.Queue.TakePlace(entry);
        Assert.Equal(1, remote.AnnounceSleep(-1));
        Assert.Equal(1, remote.AnnounceSleep(7000));
        Assert.Equal(0, reactor.RunOnce(TimeSpan.FromMilliseconds(5)));
        RemoteQueue.Link(previous, entry);
        Assert.Equal(0, remote.AnnounceSleep(-1));
        remote.Awake();
        Assert.Equal(1, reactor.RunOnce(Timeout.InfiniteTimeSpan));
    }

    [Fact]
    public void Eight_producers_lose_nothing_and_keep_their_order()
    {
        const int producers = 8;
        const int entriesEach = 20_000;
        RemoteQueue queue = new();
        Thread[] threads = [.. Enumerable.Range(0, producers).Select(producer => new Thread(() =>
        {
            for (int i = 0; i < entriesEach; i++) queue.Push(new Entry(producer * entriesEach + i));
        }))];
        foreach (Thread thread in threads) thread.Start();
        int[] next = new int[producers];
        long start = Environment.TickCount64;
        for (int popped = 0; popped < producers * entriesEach;)
        {
            Assert.True(Environment.TickCount64 - start < ReactorSuite.Patience.TotalMilliseconds, "an entry is lost");
            if (queue.Pop() is not Entry entry) continue;
            popped++;
            Assert.Equal(next[entry.Number / entriesEach]++, entry.Number % entriesEach);
        }
        Assert.Null(queue.Pop());
    }

    private sealed class Entry(int number) : RemoteCall
    {
        internal int Number => number;

        protected internal override void Run(IReactor reactor)
        {
        }
    }
}
