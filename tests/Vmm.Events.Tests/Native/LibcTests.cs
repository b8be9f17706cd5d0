using System.Net;
using System.Net.Sockets;
using Vmm.Events.Native;
using Vmm.Events.Tests.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Native;

/// <summary>Calls whose success and failure look alike to those that come after them.</summary>
public sealed class LibcTests
{
    private const int NoDescriptor = -1;

    [Fact]
    public void The_error_of_a_socket_is_what_it_ended_with_and_none_when_it_did_not_fail()
    {
        using Socket closed = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        closed.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        EndPoint nowhere = closed.LocalEndPoint!;
        closed.Dispose();
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(nowhere);
        using OwnedFd fd = RingTable.DuplicateOf(socket);
        Assert.Equal(Errno.None, Libc.SocketError(fd.Number));
        // The answer to a datagram for a port that is closed is an error of the socket, on the loopback at once.
        socket.Send([1]);
        Assert.Equal(Errno.ConnectionRefused, Libc.SocketError(fd.Number));
        Assert.Equal(Errno.None, Libc.SocketError(fd.Number));
        Assert.Equal(Errno.BadDescriptor, Libc.SocketError(NoDescriptor));
    }

    [Fact]
    public void A_timer_that_cannot_be_set_says_why()
    {
        using TimerFd timer = new();
        Assert.Equal(Errno.None, Libc.SetTimer(timer.Number, TimeSpan.FromHours(1), TimeSpan.Zero));
        Assert.Equal(Errno.BadDescriptor, Libc.SetTimer(NoDescriptor, TimeSpan.FromHours(1), TimeSpan.Zero));
        Assert.Equal(Errno.Invalid, Libc.SetTimer(timer.Number, TimeSpan.FromTicks(-1), TimeSpan.Zero));
    }
}
