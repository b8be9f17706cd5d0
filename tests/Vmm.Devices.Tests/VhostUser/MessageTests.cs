using System.Buffers.Binary;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

public sealed class MessageTests
{
    [Fact]
    public void A_message_that_comes_byte_by_byte_is_one_message()
    {
        (UnixSocket peer, UnixSocket socket) = UnixSocket.Pair();
        using (peer)
        using (socket)
        using (MessageReader reader = new())
        {
            byte[] message = Message(VhostUserRequest.SetFeatures, 8);
            message[VhostUserHeader.Bytes] = 0x46;
            for (int i = 0; i < message.Length; i++)
            {
                Assert.Equal(ReadProgress.Incomplete, reader.Read(socket));
                peer.Send(message.AsSpan(i, 1), [], out _);
            }
            Assert.Equal(ReadProgress.Message, reader.Read(socket));
            Assert.Equal((uint)VhostUserRequest.SetFeatures, reader.Header.Request);
            Assert.Equal(0x46u, BinaryPrimitives.ReadUInt64LittleEndian(reader.Payload));
        }
    }

    [Fact]
    public void Messages_sent_in_one_piece_keep_their_own_descriptors()
    {
        (UnixSocket peer, UnixSocket socket) = UnixSocket.Pair();
        using (peer)
        using (socket)
        using (EventFd fd = new())
        using (MessageReader reader = new())
        {
            byte[] one = Message(VhostUserRequest.SetVringCall, 8);
            peer.Send([.. one, .. one], [], out _);
            peer.Send(one, [fd.Number], out _);
            Assert.Equal(ReadProgress.Message, reader.Read(socket));
            Assert.Equal(0, reader.Fds.Count);
            Assert.Equal(ReadProgress.Message, reader.Read(socket));
            Assert.Equal(0, reader.Fds.Count);
            Assert.Equal(ReadProgress.Message, reader.Read(socket));
            Assert.Equal(1, reader.Fds.Count);
            Assert.Equal(ReadProgress.Incomplete, reader.Read(socket));
            Assert.Equal(0, reader.Fds.Count);
        }
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(2u, 0)]
    [InlineData(0x11u, 0)]
    [InlineData(1u, MessageShape.PayloadLimit + 1)]
    [InlineData(1u, -1)]
    public void A_header_nobody_may_send_breaks_the_connection(uint flags, int payloadBytes)
    {
        (UnixSocket peer, UnixSocket socket) = UnixSocket.Pair();
        using (peer)
        using (socket)
        using (MessageReader reader = new())
        {
            byte[] header = new byte[VhostUserHeader.Bytes];
            new VhostUserHeader(1, flags, payloadBytes).Write(header);
            peer.Send(header, [], out _);
            Assert.Equal(ReadProgress.Broken, reader.Read(socket));
            Assert.NotEmpty(reader.Complaint);
        }
    }

    [Fact]
    public void A_peer_that_goes_between_messages_is_gone_and_inside_of_one_is_broken()
    {
        foreach (bool inside in new[] { false, true })
        {
            (UnixSocket peer, UnixSocket socket) = UnixSocket.Pair();
            using MessageReader reader = new();
            if (inside) peer.Send([1, 0], [], out _);
            peer.Dispose();
            Assert.Equal(inside ? ReadProgress.Broken : ReadProgress.Closed, reader.Read(socket));
            socket.Dispose();
        }
    }

    [Fact]
    public void A_reply_waits_for_a_peer_that_does_not_read()
    {
        (UnixSocket peer, UnixSocket socket) = UnixSocket.Pair();
        using (peer)
        using (socket)
        using (MessageWriter writer = new())
        {
            byte[] chunk = new byte[65536];
            Errno errno;
            int filled = 0;
            do filled += socket.Send(chunk, [], out errno);
            while (errno == Errno.None);
            writer.Begin(VhostUserHeader.ForReply(1, 8))[0] = 7;
            Assert.True(writer.Flush(socket));
            Assert.True(writer.IsPending);
            using ReceivedFds none = new();
            while (filled > 0) filled -= peer.Receive(chunk.AsSpan(0, Math.Min(filled, chunk.Length)), none).Bytes;
            Assert.True(writer.Flush(socket));
            Assert.False(writer.IsPending);
            Assert.Equal(VhostUserHeader.Bytes + 8, peer.Receive(chunk, none).Bytes);
            Assert.Equal(7, chunk[VhostUserHeader.Bytes]);
        }
    }

    [Fact]
    public void Every_request_fits_the_buffer_and_takes_no_more_descriptors_than_a_message_carries()
    {
        foreach (VhostUserRequest request in Enum.GetValues<VhostUserRequest>())
        {
            if (!MessageShape.TryGet(request, out MessageShape shape))
            {
                Assert.Equal(VhostUserRequest.None, request);
                continue;
            }
            Assert.InRange(shape.PayloadMax, shape.PayloadMin, MessageShape.PayloadLimit);
            Assert.InRange(shape.FdsMax, shape.FdsMin, ReceivedFds.CountMax);
        }
    }

    private static byte[] Message(VhostUserRequest request, int payloadBytes)
    {
        byte[] message = new byte[VhostUserHeader.Bytes + payloadBytes];
        VhostUserHeader.ForRequest((uint)request, payloadBytes, needsReply: false).Write(message);
        return message;
    }
}
