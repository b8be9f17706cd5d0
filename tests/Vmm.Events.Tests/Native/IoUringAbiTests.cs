using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Events.Native;
using Vmm.Events.Tests.Support;
using Vmm.Tests.Native;

namespace Vmm.Events.Tests;

[Collection(Alone.Name)]
public sealed class IoUringAbiTests
{
    [Fact]
    public void Structs_and_constants_are_those_of_the_kernel_header()
    {
        Dictionary<string, long> ours = new()
        {
            ["sizeof(struct io_uring_sqe)"] = Unsafe.SizeOf<IoUringEntry>(),
            ["offsetof(struct io_uring_sqe, flags)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Flags)),
            ["offsetof(struct io_uring_sqe, ioprio)"] = Offset<IoUringEntry>(nameof(IoUringEntry.IoPriority)),
            ["offsetof(struct io_uring_sqe, fd)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Fd)),
            ["offsetof(struct io_uring_sqe, off)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Offset)),
            ["offsetof(struct io_uring_sqe, addr)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Address)),
            ["offsetof(struct io_uring_sqe, len)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Length)),
            ["offsetof(struct io_uring_sqe, poll32_events)"] = Offset<IoUringEntry>(nameof(IoUringEntry.OpFlags)),
            ["offsetof(struct io_uring_sqe, user_data)"] = Offset<IoUringEntry>(nameof(IoUringEntry.UserData)),
            ["offsetof(struct io_uring_sqe, buf_index)"] = Offset<IoUringEntry>(nameof(IoUringEntry.BufferIndex)),
            ["offsetof(struct io_uring_sqe, personality)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Personality)),
            ["offsetof(struct io_uring_sqe, file_index)"] = Offset<IoUringEntry>(nameof(IoUringEntry.FileIndex)),
            ["offsetof(struct io_uring_sqe, addr3)"] = Offset<IoUringEntry>(nameof(IoUringEntry.Address3)),
            ["sizeof(struct io_uring_cqe)"] = Unsafe.SizeOf<IoUringCompletion>(),
            ["offsetof(struct io_uring_cqe, res)"] = Offset<IoUringCompletion>(nameof(IoUringCompletion.Result)),
            ["offsetof(struct io_uring_cqe, flags)"] = Offset<IoUringCompletion>(nameof(IoUringCompletion.Flags)),
            ["sizeof(struct io_uring_params)"] = Unsafe.SizeOf<IoUringParams>(),
            ["offsetof(struct io_uring_params, features)"] = Offset<IoUringParams>(nameof(IoUringParams.Features)),
            ["offsetof(struct io_uring_params, sq_off)"] = Offset<IoUringParams>(nameof(IoUringParams.Sq)),
            ["offsetof(struct io_uring_params, cq_off)"] = Offset<IoUringParams>(nameof(IoUringParams.Cq)),
            ["offsetof(struct io_sqring_offsets, array)"] = Offset<IoUringSqOffsets>(nameof(IoUringSqOffsets.Array)),
            ["offsetof(struct io_cqring_offsets, cqes)"] = Offset<IoUringCqOffsets>(nameof(IoUringCqOffsets.Entries)),
            ["sizeof(struct io_uring_getevents_arg)"] = Unsafe.SizeOf<IoUringWaitArgument>(),
            ["offsetof(struct io_uring_getevents_arg, ts)"] = Offset<IoUringWaitArgument>(nameof(IoUringWaitArgument.TimeSpec)),
            ["sizeof(struct io_uring_rsrc_update)"] = Unsafe.SizeOf<IoUringResourceUpdate>(),
            ["offsetof(struct io_uring_rsrc_update, data)"] = Offset<IoUringResourceUpdate>(nameof(IoUringResourceUpdate.Data)),
            ["sizeof(struct __kernel_timespec)"] = Unsafe.SizeOf<KernelTimeSpec>(),
            ["sizeof(struct pollfd)"] = Unsafe.SizeOf<PollFd>(),
            ["offsetof(struct pollfd, events)"] = Offset<PollFd>(nameof(PollFd.Events)),
            ["offsetof(struct pollfd, revents)"] = Offset<PollFd>(nameof(PollFd.Ready)),
            ["POLLNVAL"] = PollFd.Invalid,
            ["IORING_SETUP_CQSIZE"] = (long)IoUringSetup.CqSize,
            ["IORING_SETUP_CLAMP"] = (long)IoUringSetup.Clamp,
            ["IORING_SETUP_R_DISABLED"] = (long)IoUringSetup.Disabled,
            ["IORING_SETUP_SUBMIT_ALL"] = (long)IoUringSetup.SubmitAll,
            ["IORING_SETUP_TASKRUN_FLAG"] = (long)IoUringSetup.TaskRunFlag,
            ["IORING_SETUP_SINGLE_ISSUER"] = (long)IoUringSetup.SingleIssuer,
            ["IORING_SETUP_DEFER_TASKRUN"] = (long)IoUringSetup.DeferTaskRun,
            ["IORING_FEAT_EXT_ARG"] = (long)IoUringFeatures.ExtArg,
            ["IORING_FEAT_CQE_SKIP"] = (long)IoUringFeatures.CqeSkip,
            ["IOSQE_CQE_SKIP_SUCCESS"] = (long)IoUringEntryFlags.CqeSkipSuccess,
            ["IORING_CQE_F_MORE"] = (long)IoUringCompletionFlags.More,
            ["IORING_REGISTER_ENABLE_RINGS"] = (long)IoUringRegister.EnableRings,
            ["IORING_REGISTER_RING_FDS"] = (long)IoUringRegister.RingFds,
            ["IORING_UNREGISTER_RING_FDS"] = (long)IoUringRegister.UnregisterRingFds,
            ["IORING_OP_POLL_ADD"] = (long)IoUringOp.PollAdd,
            ["IORING_OP_ASYNC_CANCEL"] = (long)IoUringOp.AsyncCancel,
            ["IORING_OP_LINK_TIMEOUT"] = (long)IoUringOp.LinkTimeout,
            ["IORING_OP_STATX"] = (long)IoUringOp.Statx,
            ["IORING_OP_SPLICE"] = (long)IoUringOp.Splice,
            ["IORING_OP_SHUTDOWN"] = (long)IoUringOp.Shutdown,
        };

        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(["linux/io_uring.h", "poll.h"], [.. ours.Keys]);

        Assert.Equal(theirs.OrderBy(pair => pair.Key), ours.OrderBy(pair => pair.Key));
    }

    private static long Offset<T>(string field) => Marshal.OffsetOf<T>(field);
}
