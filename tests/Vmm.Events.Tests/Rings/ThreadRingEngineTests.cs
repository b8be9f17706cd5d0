using Vmm.Events.Native;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;
using Vmm.Tests;

namespace Vmm.Events.Tests.Rings;

/// <summary>The engine of threads by itself.</summary>
public sealed class ThreadRingEngineTests
{
    /// <summary>
    /// The reactor turns the signal on and then looks for completions; a thread puts one down and then looks whether to signal. At least
    /// one of them must see the other.
    /// </summary>
    [Fact]
    public void Of_a_reactor_that_turns_the_signal_on_and_a_thread_that_completes_one_sees_the_other()
    {
        using ThreadRingEngine engine = new(new RingOptions());
        using EventFd signal = engine.Wakeful;
        ThreadJob job = new() { Entry = new IoUringEntry { Op = IoUringOp.Nop, UserData = 7 } };
        Litmus.Race(() => engine.SetSignalling(false), here: () =>
        {
            engine.SetSignalling(true);
            return engine.HasWork;
        }, there: () =>
        {
            // Both processors have a copy of what the other one writes: then a store takes its time, and a load does not.
            if (engine.HasWork) return true;
            engine.Ended(job, 0);
            return signal.TryRead(out _);
        }, () =>
        {
            Assert.True(engine.TryTake(out IoUringCompletion done));
            Assert.Equal(7UL, done.UserData);
        });
    }

    [Fact]
    public void Of_operations_that_wait_for_a_thread_the_one_that_is_cancelled_ends_and_no_other()
    {
        using RingTable table = new(RingEngine.Threads, options => options with { Threads = 1 });
        string fifo = Path.Combine(Path.GetTempPath(), $"vmm-fifo-{Guid.NewGuid():N}");
        Assert.Equal(0, Posix.MakeFifo(fifo, 0x180));
        try
        {
            string path = table.NewFile();
            using OwnedFd fd = RingTable.Open(path);
            using RingFile file = table.Ring.Register(fd);
            // Waits for a writer, and holds the only thread meanwhile.
            RingOperation<DescriptorResult> opening = table.Ring.Open(fifo, 0);
            RingOperation<FrozenResult> first = table.Ring.Write(file, table.Frozen([1]), 0);
            RingOperation<FrozenResult> second = table.Ring.Write(file, table.Frozen([2]), 1);
            table.Reactor.RunOnce(TimeSpan.Zero);
            Assert.True(second.Cancel());
            table.RunUntil(() => second.IsCompleted);
            Assert.False(first.IsCompleted);
            using OwnedFd writer = new(Posix.Open(fifo, 1, 0));
            table.RunUntil(() => first.IsCompleted && opening.IsCompleted);
            FrozenResult cancelled = second.GetAwaiter().GetResult(), written = first.GetAwaiter().GetResult();
            Assert.Equal(Errno.Canceled, cancelled.Result.Error);
            Assert.True(written.IsComplete);
            cancelled.Buffer.Release();
            written.Buffer.Release();
            opening.GetAwaiter().GetResult().Descriptor!.Dispose();
            Assert.Equal([1], File.ReadAllBytes(path));
        }
        finally
        {
            File.Delete(fifo);
        }
    }

    [Fact]
    public void A_completion_is_signalled_while_that_is_on_and_seen_in_either_case()
    {
        using ThreadRingEngine engine = new(new RingOptions());
        using EventFd signal = engine.Wakeful;
        ThreadJob job = new() { Entry = new IoUringEntry { Op = IoUringOp.Nop } };
        engine.Ended(job, 0);
        Assert.True(engine.HasWork);
        Assert.False(signal.TryRead(out _));
        engine.SetSignalling(true);
        engine.Ended(job, 0);
        engine.Ended(job, 0);
        Assert.True(signal.TryRead(out ulong count));
        Assert.Equal(2u, count);
        engine.SetSignalling(false);
        engine.Ended(job, 0);
        Assert.False(signal.TryRead(out _));
        int taken = 0;
        while (engine.TryTake(out _)) taken++;
        Assert.Equal(4, taken);
        Assert.False(engine.HasWork);
        engine.SetSignalling(true);
        Assert.False(engine.HasWork);
    }
}
