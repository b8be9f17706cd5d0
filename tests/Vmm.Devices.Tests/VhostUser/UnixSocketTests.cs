using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

public sealed class UnixSocketTests
{
    [Fact]
    public void Descriptors_travel_with_the_bytes_they_were_sent_with()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        using (b)
        using (EventFd sent = new())
        using (ReceivedFds fds = new())
        {
            Assert.Equal(3, a.Send([1, 2, 3], [], out _));
            Assert.Equal(2, a.Send([4, 5], [sent.Number], out _));
            byte[] buffer = new byte[3];
            Assert.Equal(3, b.Receive(buffer, fds).Bytes);
            Assert.Equal(0, fds.Count);
            Assert.Equal(2, b.Receive(buffer, fds).Bytes);
            Assert.Equal(1, fds.Count);
            using EventFd received = EventFd.Adopt(fds.Take(0));
            received.Signal();
            Assert.True(sent.TryRead(out _));
        }
    }

    [Fact]
    public void More_descriptors_than_there_is_room_for_are_reported_and_none_is_leaked()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        using (b)
        using (EventFd sent = new())
        using (ReceivedFds fds = new())
        {
            int[] five = [.. Enumerable.Repeat(sent.Number, 5)];
            Assert.Equal(1, a.Send([1], five, out _));
            Assert.Equal(1, a.Send([2], five, out _));
            byte[] buffer = new byte[1];
            Assert.False(b.Receive(buffer, fds).Truncated);
            Assert.True(b.Receive(buffer, fds).Truncated);
            Assert.Equal(ReceivedFds.CountMax, fds.Count);
            fds.Clear();
            Assert.Equal(1, OpenFds.Of(sent));
        }
    }

    [Fact]
    public void A_peer_that_does_not_read_or_is_gone_neither_blocks_nor_kills()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        {
            byte[] chunk = new byte[65536];
            Errno errno;
            do a.Send(chunk, [], out errno);
            while (errno == Errno.None);
            Assert.Equal(Errno.Again, errno);
            b.Dispose();
            Assert.Equal(0, a.Send(chunk, [], out errno));
            Assert.Equal(Errno.BrokenPipe, errno);
        }
    }

    [Fact]
    public void A_listening_path_has_its_mode_from_the_start_and_takes_connections()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("vmm-socket-").FullName, "s");
        using UnixSocket listener = UnixEndpoint.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.Null(listener.Accept(out Errno errno));
        Assert.Equal(Errno.Again, errno);
        using UnixSocket client = UnixEndpoint.Connect(path);
        using UnixSocket? server = listener.Accept(out _);
        Assert.NotNull(server);
        Assert.True(UnixSocket.IsUnixStream(server.Number));
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void A_path_that_does_not_fit_an_address_is_refused_with_its_length()
    {
        string path = "/" + new string('x', 107);
        foreach (Action use in (Action[])[() => UnixEndpoint.Connect(path), () => UnixEndpoint.ListenAnew(path, UnixFileMode.UserRead)])
        {
            KernelException refused = Assert.Throws<KernelException>(use);
            Assert.Contains("has 108 bytes", refused.Message, StringComparison.Ordinal);
            Assert.Contains("give it at most 107", refused.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_socket_that_ends_removes_its_own_path_and_leaves_that_of_its_successor()
    {
        string directory = Directory.CreateTempSubdirectory("vmm-socket-").FullName;
        string path = Path.Combine(directory, "s");
        UnixSocket first = UnixEndpoint.ListenAnew(path, UnixFileMode.UserRead);
        File.Delete(path);
        UnixSocket second = UnixEndpoint.ListenAnew(path, UnixFileMode.UserRead);
        first.RemovePath();
        first.Dispose();
        Assert.True(Path.Exists(path));
        second.RemovePath();
        second.Dispose();
        Assert.False(Path.Exists(path));
        Directory.Delete(directory);
    }

    [Fact]
    public void A_symbolic_link_to_a_socket_is_neither_followed_nor_removed()
    {
        string directory = Directory.CreateTempSubdirectory("vmm-socket-").FullName;
        string path = Path.Combine(directory, "s"), link = Path.Combine(directory, "link");
        UnixEndpoint.Listen(path, UnixFileMode.UserRead).Dispose();
        File.CreateSymbolicLink(link, path);
        Assert.Throws<KernelException>(() => UnixEndpoint.ListenAnew(link, UnixFileMode.UserRead));
        Assert.True(Path.Exists(link));
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void A_file_that_is_no_socket_is_not_replaced_by_one()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-test-{Guid.NewGuid():n}");
        File.WriteAllText(path, "a disk image, say");
        try
        {
            KernelException refused = Assert.Throws<KernelException>(() => UnixEndpoint.ListenAnew(path, UnixFileMode.UserRead));
            Assert.Contains("it is no socket", refused.Message, StringComparison.Ordinal);
            Assert.Equal("a disk image, say", File.ReadAllText(path));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
