using System.Net;
using System.Net.Sockets;
using Moq;
using Vmm.Events.Tests.Support;
using Vmm.Examples.EchoServer;

namespace Vmm.Events.Tests.Examples;

/// <summary>The echo server of the documentation, its handlers called with a mocked reactor and by a real one.</summary>
public sealed class EchoServerTests : ReactorSuite
{
    private static readonly IPEndPoint AnyPort = new(IPAddress.Loopback, 0);
    private readonly List<TcpClient> _clients = [];

    [Fact]
    public void The_listener_adds_a_connection_from_inside_its_handler()
    {
        using EchoServer server = new(AnyPort);
        Connect(server);
        Mock<IReactor> reactor = new(MockBehavior.Strict);
        Subscription? added = null;
        reactor.Setup(each => each.Add(It.IsAny<Subscription>())).Callback((Subscription subscription) => added = subscription);
        server.OnPeer(server.Listener.Fd, reactor.Object);
        Assert.Equal(Interest.Readable, added!.Interest);
        Assert.IsType<EchoConnection>(added.Owner);
        server.OnPeer(server.Listener.Fd, reactor.Object);
        Assert.Equal(1, server.Connections);
        added.Handle.Dispose();
        server.Listener.Handle.Dispose();
    }

    [Fact]
    public void The_listener_is_silent_while_the_house_is_full()
    {
        using EchoServer server = new(AnyPort, connectionsMax: 1);
        server.Listener.RegisterInto(Reactor);
        TcpClient first = Connect(server), second = Connect(server);
        RunUntil(() => server.Connections == 1);
        Assert.Equal(Interest.None, server.Listener.Interest);
        Assert.Equal(0, Turn());
        first.Close();
        RunUntil(() => server.Listener.Interest == Interest.Readable);
        RunUntil(() => server.Connections == 1);
        Assert.Equal("hello", Echo(second, "hello"));
    }

    [Fact]
    public void What_peers_send_comes_back_to_each()
    {
        using EchoServer server = new(AnyPort);
        server.Listener.RegisterInto(Reactor);
        TcpClient[] clients = [Connect(server), Connect(server), Connect(server)];
        RunUntil(() => server.Connections == 3);
        for (int round = 0; round < 3; round++)
        {
            foreach (TcpClient client in clients) Assert.Equal($"round {round}", Echo(client, $"round {round}"));
        }
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_peer_that_does_not_take_its_bytes_is_not_read_from()
    {
        using EchoServer server = new(AnyPort);
        server.Listener.RegisterInto(Reactor);
        TcpClient client = Connect(server);
        client.Client.Blocking = false;
        RunUntil(() => server.Connections == 1);
        Assert.True(Reactor.TryFind(ConnectionNumber(server), out Subscription? connection));
        byte[] flood = new byte[256 * 1024];
        new Random(1).NextBytes(flood);
        long sent = 0;
        int idle = 0;
        // Until the buffers between the two are full: nobody takes what comes back.
        while (idle < 20 || connection.Interest != Interest.Writable)
        {
            int more = client.Client.Send(flood.AsSpan((int)(sent % flood.Length)), SocketFlags.None, out SocketError error);
            idle = error == SocketError.WouldBlock && Reactor.RunOnce(TimeSpan.FromMilliseconds(1)) == 0 ? idle + 1 : 0;
            sent += more;
        }

        byte[] back = new byte[64 * 1024];
        long received = 0, differences = 0;
        while (received < sent)
        {
            int count = client.Client.Receive(back, SocketFlags.None, out SocketError error);
            if (error == SocketError.WouldBlock) Reactor.RunOnce(TimeSpan.FromMilliseconds(1));
            for (int i = 0; i < count; i++) differences += flood[(received + i) % flood.Length] == back[i] ? 0 : 1;
            received += count;
        }
        Assert.Equal(0, differences);
        Assert.Equal(Interest.Readable, connection.Interest);
    }

    [Fact]
    public void What_was_sent_before_a_half_close_comes_back_and_then_the_end()
    {
        using EchoServer server = new(AnyPort);
        server.Listener.RegisterInto(Reactor);
        TcpClient client = Connect(server);
        client.Client.Send("the last words"u8);
        client.Client.Shutdown(SocketShutdown.Send);
        RunUntil(() => server.Connections == 1);
        RunUntil(() => server.Connections == 0);
        byte[] back = new byte[64];
        Assert.Equal("the last words"u8, back.AsSpan(0, client.Client.Receive(back)));
        Assert.Equal(0, client.Client.Receive(back));
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_peer_that_breaks_off_is_forgotten()
    {
        using EchoServer server = new(AnyPort);
        server.Listener.RegisterInto(Reactor);
        TcpClient client = Connect(server);
        RunUntil(() => server.Connections == 1);
        client.Client.LingerState = new LingerOption(true, 0);
        client.Close();
        RunUntil(() => server.Connections == 0);
        Assert.Empty(Failures);
    }

    public override void Dispose()
    {
        base.Dispose();
        _clients.ForEach(client => client.Dispose());
    }

    private TcpClient Connect(EchoServer server)
    {
        TcpClient client = new() { ReceiveTimeout = (int)Patience.TotalMilliseconds };
        client.Connect(server.Address);
        _clients.Add(client);
        return client;
    }

    private string Echo(TcpClient client, string text)
    {
        byte[] bytes = System.Text.Encoding.UTF8.GetBytes(text);
        client.Client.Send(bytes);
        RunUntil(() => client.Available == bytes.Length);
        byte[] back = new byte[bytes.Length];
        client.GetStream().ReadExactly(back);
        return System.Text.Encoding.UTF8.GetString(back);
    }

    private int ConnectionNumber(EchoServer server) =>
        Enumerable.Range(0, 4096).First(number => Reactor.TryFind(number, out Subscription? found) && found != server.Listener);

    private void RunUntil(Func<bool> isSo)
    {
        for (int turn = 0; !isSo(); turn++)
        {
            Assert.True(turn < 10_000, "it does not come about");
            Reactor.RunOnce(TimeSpan.FromMilliseconds(10));
        }
    }
}
