using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>The programs on the host that a guest's vsocktest (tools/guest/programs) talks to, each at the Unix socket of its port.</summary>
internal sealed class VsockHost(string path) : IDisposable
{
    private const ulong FromGuest = 0xc2b2ae3d27d4eb4f;
    private const ulong FromHost = 0x9e3779b97f4a7c15;
    private const int BlockBytes = 64 * 1024;

    private readonly ConcurrentBag<Socket> _listeners = [];
    private readonly ConcurrentBag<Exception> _failures = [];
    private readonly ManualResetEventSlim _mayRead = new(), _allRead = new();

    /// <summary>Connections that programs of the host took.</summary>
    internal int Accepted => _accepted;
    private int _accepted;

    /// <summary>Lets the program that does not read go on.</summary>
    internal void Read() => _mayRead.Set();

    internal void AssertNothingFailed() => Assert.Empty(_failures);

    /// <summary>Sends and receives so much of the pattern at the same time.</summary>
    internal void Exchange(uint port, long bytes) => Listen(port, SocketType.Stream, socket =>
    {
        Task sending = Task.Run(() =>
        {
            byte[] block = new byte[BlockBytes];
            for (long at = 0; at < bytes; at += BlockBytes)
            {
                Fill(block, at, FromHost);
                Send(socket, block);
            }
            socket.Shutdown(SocketShutdown.Send);
        });
        Verify(socket, bytes);
        sending.Wait();
    });

    /// <summary>Sends everything back, until the end.</summary>
    internal void Echo(uint port, SocketType type = SocketType.Stream) => Listen(port, type, socket =>
    {
        byte[] buffer = new byte[128 * 1024];
        for (int length; (length = socket.Receive(buffer)) > 0;) Send(socket, buffer.AsSpan(0, length));
    });

    /// <summary>First hears to the end, then answers; the next time ends first, then hears.</summary>
    internal void Halves(uint port)
    {
        int turn = 0;
        Listen(port, SocketType.Stream, socket =>
        {
            if (Interlocked.Increment(ref turn) == 1)
            {
                Assert.Equal("first me", Hear(socket, 100));
                socket.Send("then you"u8);
                return;
            }
            Assert.Equal("you end!", Hear(socket, 8));
            socket.Send("end"u8);
            socket.Shutdown(SocketShutdown.Send);
            Assert.Equal("still me", Hear(socket, 100));
        });
    }

    /// <summary>Reads nothing until it may, then all, and says how much that was.</summary>
    internal void Stall(uint port) => Listen(port, SocketType.Stream, socket =>
    {
        _mayRead.Wait();
        byte[] count = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(count, Verify(socket, long.MaxValue));
        socket.Send(count);
    });

    /// <summary>Reads nothing until it may, then so many bytes and the end.</summary>
    internal void ReadLater(uint port, long bytes) => Listen(port, SocketType.Stream, socket =>
    {
        _mayRead.Wait();
        Verify(socket, bytes);
        if (socket.Receive(new byte[1]) != 0) throw new InvalidDataException("more than was sent");
        _allRead.Set();
    });

    internal void AssertAllRead() => Assert.True(_allRead.Wait(TimeSpan.FromMinutes(2)), string.Join('\n', _failures));

    /// <summary>Connects to a port of the guest.</summary>
    internal Socket Connect(uint port)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000, SendTimeout = 60_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send(Encoding.ASCII.GetBytes($"CONNECT {port}\n"));
        byte[] one = new byte[1];
        StringBuilder answer = new();
        while (socket.Receive(one) == 1 && one[0] != '\n') answer.Append((char)one[0]);
        Assert.StartsWith("OK ", answer.ToString());
        return socket;
    }

    /// <summary>Has the guest's echo give back a pattern, sent and received at the same time.</summary>
    internal void ExchangeWithEcho(uint port, long bytes)
    {
        using Socket socket = Connect(port);
        Task sending = Task.Run(() =>
        {
            byte[] block = new byte[BlockBytes];
            for (long at = 0; at < bytes; at += BlockBytes)
            {
                Fill(block, at, FromGuest);
                Send(socket, block);
            }
            socket.Shutdown(SocketShutdown.Send);
        });
        Verify(socket, bytes);
        sending.Wait();
    }

    /// <summary>Has the guest's echo give back words on many connections, so many of them open at once.</summary>
    internal void EchoMany(uint port, int count, int atOnce)
    {
        for (int done = 0; done < count; done += atOnce)
        {
            Socket[] sockets = [.. Enumerable.Range(0, atOnce).Select(_ => Connect(port))];
            for (int i = 0; i < atOnce; i++) sockets[i].Send(Encoding.ASCII.GetBytes($"number {done + i}"));
            for (int i = 0; i < atOnce; i++) Assert.Equal($"number {done + i}", Hear(sockets[i], $"number {done + i}".Length));
            foreach (Socket socket in sockets) socket.Dispose();
        }
    }

    public void Dispose()
    {
        _mayRead.Set();
        foreach (Socket listener in _listeners) listener.Dispose();
        _mayRead.Dispose();
        _allRead.Dispose();
    }

    internal static string Hear(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        int done = 0;
        for (int now; done < length && (now = socket.Receive(bytes.AsSpan(done))) > 0;) done += now;
        return Encoding.ASCII.GetString(bytes, 0, done);
    }

    private void Listen(uint port, SocketType type, Action<Socket> serve)
    {
        Socket listener = new(AddressFamily.Unix, type, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{path}_{port}"));
        listener.Listen(128);
        _listeners.Add(listener);
        new Thread(() => Accept(listener, serve)) { IsBackground = true }.Start();
    }

    private void Accept(Socket listener, Action<Socket> serve)
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = listener.Accept();
            }
            catch (Exception stopped) when (stopped is SocketException or ObjectDisposedException)
            {
                return;
            }
            Interlocked.Increment(ref _accepted);
            new Thread(() => Serve(socket, serve)) { IsBackground = true }.Start();
        }
    }

    private void Serve(Socket socket, Action<Socket> serve)
    {
        using Socket mine = socket;
        try
        {
            serve(mine);
        }
        catch (Exception failure)
        {
            _failures.Add(failure);
        }
    }

    /// <summary>Reads the guest's pattern until there is so much of it, or the end.</summary>
    private static long Verify(Socket socket, long bytes)
    {
        byte[] block = new byte[BlockBytes], expected = new byte[BlockBytes];
        long at = 0;
        while (at < bytes)
        {
            int length = 0, wanted = (int)Math.Min(BlockBytes, bytes - at);
            for (int now; length < wanted && (now = socket.Receive(block.AsSpan(length, wanted - length))) > 0;) length += now;
            Fill(expected, at, FromGuest);
            if (!block.AsSpan(0, length).SequenceEqual(expected.AsSpan(0, length))) throw new InvalidDataException($"wrong bytes between {at} and {at + length}");
            at += length;
            if (length < wanted) break;
        }
        return bytes == long.MaxValue || at == bytes ? at : throw new InvalidDataException($"{at} bytes of {bytes}");
    }

    private static void Send(Socket socket, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty) bytes = bytes[socket.Send(bytes)..];
    }

    private static void Fill(Span<byte> block, long at, ulong way)
    {
        for (int i = 0; i < block.Length; i += sizeof(ulong))
            BinaryPrimitives.WriteUInt64LittleEndian(block[i..], ((ulong)(at + i) + 1) * way);
    }
}
