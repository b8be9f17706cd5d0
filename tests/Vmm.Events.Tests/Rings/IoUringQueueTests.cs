using Vmm.Events.Native;
using Vmm.Events.Rings;

namespace Vmm.Events.Tests.Rings;

public class IoUringQueueTests
{
    private const IoUringSetup SingleThreaded = IoUringSetup.SingleIssuer | IoUringSetup.DeferTaskRun;

    [Fact]
    public void An_entry_comes_back_as_a_completion_with_its_user_data()
    {
        using IoUringQueue queue = Create(IoUringSetup.None);
        queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop, UserData = 0x1234_5678_9abc_def0 };

        Assert.Equal(Errno.None, queue.SubmitAndWait(completionsMin: 1, IoUringQueue.Forever));

        Assert.True(queue.TryTake(out IoUringCompletion done));
        Assert.Equal(0x1234_5678_9abc_def0UL, done.UserData);
        Assert.Equal(0, done.Result);
        Assert.False(queue.TryTake(out _));
        Assert.Equal(0u, queue.Unsubmitted);
    }

    [Fact]
    public void A_full_submission_ring_has_no_room_until_it_is_submitted()
    {
        using IoUringQueue queue = Create(IoUringSetup.None);
        uint prepared = 0;
        for (; queue.HasRoom; prepared++) queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop, UserData = prepared };

        Assert.Equal(queue.SqCapacity, prepared);
        Assert.Equal(prepared, queue.Unsubmitted);
        Assert.Equal(Errno.None, queue.Submit());
        Assert.True(queue.HasRoom);
        Assert.Equal(prepared, queue.Available);
        for (uint i = 0; i < prepared; i++)
        {
            Assert.True(queue.TryTake(out IoUringCompletion done));
            Assert.Equal(i, done.UserData);
        }
    }

    [Fact]
    public void A_wait_that_reaches_its_time_limit_is_no_error()
    {
        using IoUringQueue queue = Create(IoUringSetup.None);

        Assert.Equal(Errno.None, queue.SubmitAndWait(completionsMin: 1, timeoutNs: 1_000_000));

        Assert.Equal(0u, queue.Available);
    }

    [Fact]
    public void A_disabled_ring_belongs_to_the_thread_that_enables_it()
    {
        using IoUringQueue queue = Create(SingleThreaded | IoUringSetup.Disabled);
        queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop };
        Errno[] answers = [];
        Thread owner = new(() => answers = [queue.Enable(), queue.SubmitAndWait(1, IoUringQueue.Forever)]);
        owner.Start();
        owner.Join();
        Assert.Equal([Errno.None, Errno.None], answers);
        Assert.True(queue.TryTake(out _));

        queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop };

        Assert.Equal(Errno.Exists, queue.Submit());
    }

    [Fact]
    public void A_registered_ring_descriptor_serves_in_place_of_the_number()
    {
        using IoUringQueue queue = Create(SingleThreaded);
        Assert.Equal(Errno.None, queue.RegisterRingFd());

        for (ulong i = 0; i < 3; i++)
        {
            queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop, UserData = i };
            Assert.Equal(Errno.None, queue.SubmitAndWait(1, IoUringQueue.Forever));
            Assert.True(queue.TryTake(out IoUringCompletion done));
            Assert.Equal(i, done.UserData);
            if (i == 1) queue.UnregisterRingFd();
        }
    }

    [Fact]
    public void More_completions_than_fit_are_kept_by_the_kernel_and_handed_over_later()
    {
        using IoUringQueue queue = Create(IoUringSetup.None);
        uint submitted = queue.CqCapacity + 3;
        for (uint i = 0; i < submitted; i++)
        {
            if (!queue.HasRoom) Assert.Equal(Errno.None, queue.Submit());
            queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop, UserData = i };
        }
        Assert.Equal(Errno.None, queue.Submit());
        Assert.True(queue.HasOverflown);

        List<ulong> seen = [];
        while (seen.Count < submitted)
        {
            while (queue.TryTake(out IoUringCompletion done)) seen.Add(done.UserData);
            Assert.Equal(Errno.None, queue.SubmitAndReap());
        }

        Assert.Equal(Enumerable.Range(0, (int)submitted).Select(i => (ulong)i), seen);
        Assert.False(queue.HasOverflown);
    }

    [Fact]
    public void A_kernel_that_refuses_says_why()
    {
        Assert.Equal(Errno.Invalid, IoUringQueue.TryCreate(8, 0, (IoUringSetup)0x8000_0000, out IoUringQueue? queue));
        Assert.Null(queue);
    }

    private static IoUringQueue Create(IoUringSetup setup)
    {
        Errno errno = IoUringQueue.TryCreate(8, 16, setup, out IoUringQueue? queue);
        Assert.SkipWhen(errno is Errno.NotImplemented or Errno.NotPermitted, $"this kernel offers no io_uring ({errno})");
        Assert.Equal(Errno.None, errno);
        return queue!;
    }
}
