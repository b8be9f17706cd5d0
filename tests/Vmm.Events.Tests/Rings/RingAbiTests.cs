using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Events.Buffers;
using Vmm.Events.Native;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;
using Vmm.Tests.Native;

namespace Vmm.Events.Tests.Rings;

[Collection(Alone.Name)]
public sealed class RingAbiTests
{
    [Fact]
    public void Tables_of_files_and_buffers_are_those_of_the_kernel_header()
    {
        Check(["linux/io_uring.h"], new()
        {
            ["sizeof(struct io_uring_rsrc_register)"] = Unsafe.SizeOf<IoUringTableRegistration>(),
            ["offsetof(struct io_uring_rsrc_register, flags)"] = Offset<IoUringTableRegistration>(nameof(IoUringTableRegistration.Flags)),
            ["offsetof(struct io_uring_rsrc_register, data)"] = Offset<IoUringTableRegistration>(nameof(IoUringTableRegistration.Data)),
            ["sizeof(struct io_uring_rsrc_update2)"] = Unsafe.SizeOf<IoUringTaggedUpdate>(),
            ["offsetof(struct io_uring_rsrc_update2, data)"] = Offset<IoUringTaggedUpdate>(nameof(IoUringTaggedUpdate.Data)),
            ["offsetof(struct io_uring_rsrc_update2, tags)"] = Offset<IoUringTaggedUpdate>(nameof(IoUringTaggedUpdate.Tags)),
            ["offsetof(struct io_uring_rsrc_update2, nr)"] = Offset<IoUringTaggedUpdate>(nameof(IoUringTaggedUpdate.Count)),
            ["IORING_REGISTER_FILES2"] = (long)IoUringRegister.Files2,
            ["IORING_REGISTER_BUFFERS2"] = (long)IoUringRegister.Buffers2,
            ["IORING_REGISTER_BUFFERS_UPDATE"] = (long)IoUringRegister.BuffersUpdate,
            ["IORING_REGISTER_FILES_UPDATE"] = (long)IoUringRegister.FilesUpdate,
            ["IORING_REGISTER_EVENTFD"] = (long)IoUringRegister.EventFd,
            ["sizeof(struct io_uring_restriction)"] = Unsafe.SizeOf<IoUringRestriction>(),
            ["offsetof(struct io_uring_restriction, sqe_op)"] = Offset<IoUringRestriction>(nameof(IoUringRestriction.Value)),
            ["IORING_REGISTER_RESTRICTIONS"] = (long)IoUringRegister.Restrictions,
            ["IORING_RESTRICTION_REGISTER_OP"] = (long)IoUringRestrictionKind.Registration,
            ["IORING_RESTRICTION_SQE_OP"] = (long)IoUringRestrictionKind.Operation,
            ["IORING_RESTRICTION_SQE_FLAGS_ALLOWED"] = (long)IoUringRestrictionKind.EntryFlags,
            ["IORING_OP_READV"] = (long)IoUringOp.ReadV,
            ["IORING_OP_WRITEV"] = (long)IoUringOp.WriteV,
            ["IORING_OP_FSYNC"] = (long)IoUringOp.Fsync,
            ["IORING_OP_READ_FIXED"] = (long)IoUringOp.ReadFixed,
            ["IORING_OP_WRITE_FIXED"] = (long)IoUringOp.WriteFixed,
            ["IORING_OP_SENDMSG"] = (long)IoUringOp.SendMsg,
            ["IORING_OP_RECVMSG"] = (long)IoUringOp.RecvMsg,
            ["IORING_OP_TIMEOUT"] = (long)IoUringOp.Timeout,
            ["IORING_OP_ACCEPT"] = (long)IoUringOp.Accept,
            ["IORING_OP_CONNECT"] = (long)IoUringOp.Connect,
            ["IORING_OP_FALLOCATE"] = (long)IoUringOp.Fallocate,
            ["IORING_OP_OPENAT"] = (long)IoUringOp.OpenAt,
            ["IORING_OP_CLOSE"] = (long)IoUringOp.Close,
            ["IORING_OP_FILES_UPDATE"] = (long)IoUringOp.FilesUpdate,
            ["IORING_OP_READ"] = (long)IoUringOp.Read,
            ["IORING_OP_WRITE"] = (long)IoUringOp.Write,
            ["IORING_OP_SEND"] = (long)IoUringOp.Send,
            ["IORING_OP_RECV"] = (long)IoUringOp.Recv,
            ["IOSQE_FIXED_FILE"] = (long)IoUringEntryFlags.FixedFile,
            ["IOSQE_IO_LINK"] = (long)IoUringEntryFlags.Link,
            ["IOSQE_IO_HARDLINK"] = (long)IoUringEntryFlags.HardLink,
        });
    }

    [Fact]
    public void Vectors_polls_and_modes_are_those_of_the_kernel_header()
    {
        Check(["poll.h", "sys/uio.h", "linux/falloc.h"], new()
        {
            ["sizeof(struct iovec)"] = Unsafe.SizeOf<IoVec>(),
            ["offsetof(struct iovec, iov_len)"] = Offset<IoVec>(nameof(IoVec.Length)),
            ["sizeof(struct pollfd)"] = Unsafe.SizeOf<PollFd>(),
            ["offsetof(struct pollfd, events)"] = Offset<PollFd>(nameof(PollFd.Events)),
            ["offsetof(struct pollfd, revents)"] = Offset<PollFd>(nameof(PollFd.Ready)),
            ["FALLOC_FL_KEEP_SIZE"] = (long)FallocateMode.KeepSize,
            ["FALLOC_FL_PUNCH_HOLE"] = (long)FallocateMode.PunchHole,
            ["FALLOC_FL_ZERO_RANGE"] = (long)FallocateMode.ZeroRange,
        });
    }

    private static void Check(string[] headers, Dictionary<string, long> ours)
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(headers, [.. ours.Keys]);
        Assert.Equal(theirs.OrderBy(pair => pair.Key), ours.OrderBy(pair => pair.Key));
    }

    private static long Offset<T>(string field) => Marshal.OffsetOf<T>(field);
}
