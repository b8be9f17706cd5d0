using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.VhostUser;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Sockets, the signalling ring and the in-flight log as the kernel's headers, and the protocol's structures, have them.</summary>
[Collection(Alone.Name)]
public sealed class SocketAbiTests
{
    [Fact]
    public void Socket_structures_are_those_of_the_headers() => Agree(["sys/socket.h", "sys/un.h", "sys/uio.h", "poll.h"], new()
    {
        ["sizeof(struct msghdr)"] = Unsafe.SizeOf<MessageHeader>(),
        ["offsetof(struct msghdr, msg_iov)"] = OffsetOf<MessageHeader>(nameof(MessageHeader.Vectors)),
        ["offsetof(struct msghdr, msg_iovlen)"] = OffsetOf<MessageHeader>(nameof(MessageHeader.VectorCount)),
        ["offsetof(struct msghdr, msg_control)"] = OffsetOf<MessageHeader>(nameof(MessageHeader.Control)),
        ["offsetof(struct msghdr, msg_controllen)"] = OffsetOf<MessageHeader>(nameof(MessageHeader.ControlLength)),
        ["offsetof(struct msghdr, msg_flags)"] = OffsetOf<MessageHeader>(nameof(MessageHeader.Flags)),
        ["sizeof(struct cmsghdr)"] = Unsafe.SizeOf<ControlHeader>(),
        ["offsetof(struct cmsghdr, cmsg_level)"] = OffsetOf<ControlHeader>(nameof(ControlHeader.Level)),
        ["offsetof(struct cmsghdr, cmsg_type)"] = OffsetOf<ControlHeader>(nameof(ControlHeader.Type)),
        ["sizeof(struct iovec)"] = Unsafe.SizeOf<IoVector>(),
        ["sizeof(struct sockaddr_un)"] = Unsafe.SizeOf<UnixAddress>(),
        ["sizeof(((struct sockaddr_un *)0)->sun_path)"] = UnixAddress.PathMax,
        ["sizeof(struct ucred)"] = Unsafe.SizeOf<PeerCredentials>(),
        ["sizeof(struct pollfd)"] = Unsafe.SizeOf<PollEntry>(),
        ["offsetof(struct pollfd, revents)"] = OffsetOf<PollEntry>(nameof(PollEntry.Returned)),
        ["AF_UNIX"] = SocketCalls.AF_UNIX,
        ["SOCK_STREAM"] = SocketCalls.SOCK_STREAM,
        ["SOCK_NONBLOCK"] = SocketCalls.SOCK_NONBLOCK,
        ["SOCK_CLOEXEC"] = SocketCalls.SOCK_CLOEXEC,
        ["SOL_SOCKET"] = SocketCalls.SOL_SOCKET,
        ["SO_TYPE"] = SocketCalls.SO_TYPE,
        ["SO_DOMAIN"] = SocketCalls.SO_DOMAIN,
        ["SO_PEERCRED"] = SocketCalls.SO_PEERCRED,
        ["SCM_RIGHTS"] = SocketCalls.SCM_RIGHTS,
        ["MSG_CTRUNC"] = SocketCalls.MSG_CTRUNC,
        ["MSG_DONTWAIT"] = SocketCalls.MSG_DONTWAIT,
        ["MSG_NOSIGNAL"] = SocketCalls.MSG_NOSIGNAL,
        ["MSG_CMSG_CLOEXEC"] = SocketCalls.MSG_CMSG_CLOEXEC,
        ["POLLIN"] = SocketCalls.POLLIN,
        ["POLLOUT"] = SocketCalls.POLLOUT,
    });

    [Fact]
    public void Signals_are_submitted_as_linux_aio_abi_says() => Agree(["linux/aio_abi.h", "sys/syscall.h"], new()
    {
        ["sizeof(struct iocb)"] = Unsafe.SizeOf<AioRequest>(),
        ["offsetof(struct iocb, aio_lio_opcode)"] = OffsetOf<AioRequest>(nameof(AioRequest.Operation)),
        ["offsetof(struct iocb, aio_fildes)"] = OffsetOf<AioRequest>(nameof(AioRequest.Fd)),
        ["offsetof(struct iocb, aio_flags)"] = OffsetOf<AioRequest>(nameof(AioRequest.Flags)),
        ["offsetof(struct iocb, aio_resfd)"] = OffsetOf<AioRequest>(nameof(AioRequest.EventFd)),
        ["IOCB_CMD_PWRITE"] = AioCalls.Write,
        ["IOCB_FLAG_RESFD"] = AioCalls.SignalsEventFd,
        ["__NR_io_setup"] = AioCalls.SetupCall,
        ["__NR_io_destroy"] = AioCalls.DestroyCall,
        ["__NR_io_submit"] = AioCalls.SubmitCall,
    });

    [Fact]
    public void Vhost_bits_are_those_of_the_headers() => Agree(["linux/vhost_types.h"], new()
    {
        ["sizeof(struct vhost_vring_addr)"] = PayloadOf(VhostUserRequest.SetVringAddress),
        ["offsetof(struct vhost_vring_addr, desc_user_addr)"] = 8,
        ["offsetof(struct vhost_vring_addr, used_user_addr)"] = 16,
        ["offsetof(struct vhost_vring_addr, avail_user_addr)"] = 24,
        ["sizeof(struct vhost_vring_state)"] = PayloadOf(VhostUserRequest.SetVringNum),
        ["sizeof(struct vhost_memory_region)"] = MessageShape.RegionBytes,
        ["VHOST_F_LOG_ALL"] = 26,
    });

    private static long PayloadOf(VhostUserRequest request) => MessageShape.TryGet(request, out MessageShape shape) ? shape.PayloadMax : -1;

    private static long OffsetOf<T>(string field) => Marshal.OffsetOf<T>(field);

    private static void Agree(string[] headers, Dictionary<string, long> ours)
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(headers, [.. ours.Keys]);
        foreach ((string expression, long value) in ours) Assert.True(theirs[expression] == value, $"{expression} is {theirs[expression]}, not {value}");
    }
}
