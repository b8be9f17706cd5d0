using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Who connects to a Unix socket is taken one by one. What it takes is no descriptor: alone.</summary>
[Collection(Alone.Name)]
public sealed partial class HostListenerTests : IDisposable
{
    // RLIMIT_NOFILE of getrlimit(2).
    private const int OpenFiles = 7;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-listener-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Without_a_descriptor_left_it_tries_again_later_and_does_not_spin()
    {
        ManualClock clock = new();
        Reactor reactor = new(new ReactorOptions { TimeProvider = clock });
        List<UnixSocket> peers = [];
        HostListener listener = new(Path.Combine(_directory, "s"), reactor.Remote, (peer, _) =>
        {
            peers.Add(peer);
            return true;
        });
        Turns(reactor);
        using Socket first = Connect(listener.Path);
        Turns(reactor);
        Assert.Single(peers);

        using (Socket second = Connect(listener.Path))
        {
            int turns = WithoutDescriptors(() => Turns(reactor));
            Assert.InRange(turns, 1, 3);
            Assert.Single(peers);
            Assert.Equal(AcceptLoop.Retry, clock.UntilNextTimer);
            clock.Advance(AcceptLoop.Retry);
            Turns(reactor);
            Assert.Equal(2, peers.Count);
        }
        reactor.Dispose();
        listener.Dispose();
        Assert.False(File.Exists(listener.Path));
        peers.ForEach(peer => peer.Dispose());
    }

    [Fact]
    public void A_cable_accepts_the_peer_that_came_without_a_descriptor_left_when_there_is_one()
    {
        ManualClock clock = new();
        using Reactor reactor = new(new ReactorOptions { TimeProvider = clock });
        using NetSocket cable = NetSocket.Open(Path.Combine(_directory, "cable"));
        using INetSource source = cable.CreateSource(0, reactor, () => { });
        Turns(reactor);
        using Socket peer = Connect(Path.Combine(_directory, "cable"));
        WithoutDescriptors(() => Turns(reactor));
        Assert.False(cable.IsConnected);
        clock.Advance(AcceptLoop.Retry);
        Turns(reactor);
        Assert.True(cable.IsConnected);
    }

    [Fact]
    public void A_console_takes_a_client_that_came_with_too_few_descriptors_left_and_those_after_it()
    {
        ManualClock clock = new();
        Reactor reactor = new(new ReactorOptions { TimeProvider = clock });
        ConsolePort port = new("console", isConsole: true);
        ConsoleListener listener = new(port, Path.Combine(_directory, "console"), reactor.Remote);
        Turns(reactor);
        using (Socket unlucky = Connect(listener.Path))
        {
            // One for the connection, and none for its second direction.
            using (new DescriptorFamine(free: 1)) Turns(reactor);
            Assert.False(port.IsConnected);
            Assert.Equal(0, unlucky.Receive(new byte[1]));
        }
        using Socket next = Connect(listener.Path);
        clock.Advance(AcceptLoop.Retry);
        Turns(reactor);
        Assert.True(port.IsConnected);
        reactor.Dispose();
        listener.Dispose();
        port.Disconnect();
    }

    [Fact]
    public void A_bug_in_what_takes_a_peer_is_the_failure_of_the_owner_of_the_sources()
    {
        List<HandlerFailure> failures = [];
        using Reactor reactor = new(new ReactorOptions { OnHandlerFailure = failures.Add });
        Subscriber owner = new("a device");
        string path = Path.Combine(_directory, "bug");
        UnixSocket listening = UnixEndpoint.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        AcceptLoop accepting = new(listening, owner.In(reactor), _ => throw new InvalidOperationException("a bug"));
        accepting.Next();
        using Socket peer = Connect(path);
        Turns(reactor);
        HandlerFailure failure = Assert.Single(failures);
        Assert.Equal("a bug", failure.Exception.Message);
        Assert.Contains("a device", failure.Source, StringComparison.Ordinal);
        Assert.Empty(owner.Subscriptions);
        accepting.Stop();
        Turns(reactor);
        File.Delete(path);
    }

    /// <summary>Steps until there is nothing to do.</summary>
    /// <returns>Turns that had something; a hundred if it would go on.</returns>
    private static int Turns(Reactor reactor)
    {
        int turns = 0;
        while (turns < 100 && reactor.RunOnce(TimeSpan.Zero) > 0) turns++;
        return turns;
    }

    private static Socket Connect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static T WithoutDescriptors<T>(Func<T> action)
    {
        Assert.Equal(0, GetLimit(OpenFiles, out Limit before));
        // The limit is on the number that a new descriptor may get: 0 to 2 are taken.
        Limit lowered = before with { Soft = 3 };
        Assert.Equal(0, SetLimit(OpenFiles, lowered));
        try
        {
            return action();
        }
        finally
        {
            Assert.Equal(0, SetLimit(OpenFiles, before));
        }
    }

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, out Limit limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, in Limit limit);

    private readonly record struct Limit(ulong Soft, ulong Hard);
}
