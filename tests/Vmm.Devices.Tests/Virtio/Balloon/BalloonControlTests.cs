using System.Net.Sockets;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Programs of the host that say by lines how much memory they want.</summary>
public abstract class BalloonControlTests : PollerSuite, IDisposable
{
    private const int Statistics = 2;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-balloon-").FullName;
    private readonly ManualClock _clock = new();
    private readonly ReactorThread _reactor;
    private readonly BalloonDevice _balloon = new("balloon0");
    private readonly BalloonControl _control;

    private protected BalloonControlTests(PollerKind poller) : base(poller)
    {
        _reactor = new ReactorThread(new ReactorOptions { TimeProvider = _clock, Poller = poller });
        _reactor.Start();
        _control = new BalloonControl(_balloon, Path.Combine(_directory, "control"), _reactor.Remote);
    }

    public void Dispose()
    {
        _control.Dispose();
        Assert.False(File.Exists(_control.Path));
        _reactor.Dispose();
        _balloon.Dispose();
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void A_line_sets_the_target_and_is_answered_by_the_amounts()
    {
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(_control.Path));
        using Client client = new(_control.Path);
        Assert.Equal("ok target_bytes=0 actual_bytes=0 returned_bytes=0", client.Ask("target"));
        Assert.Equal("ok target_bytes=16777216 actual_bytes=0 returned_bytes=0", client.Ask("target 16"));
        Assert.Equal(16UL << 20, _balloon.TargetBytes);
        Assert.Equal("ok target_bytes=17592184995840 actual_bytes=0 returned_bytes=0", client.Ask("target 16777215"));
        Assert.Equal("ok target_bytes=0 actual_bytes=0 returned_bytes=0", client.Ask("  target\t0 \r"));
        Assert.StartsWith("ok target [MIB]", client.Ask("help"));
    }

    [Theory]
    [InlineData("", "error unknown command '': try 'help'")]
    [InlineData("frobnicate now", "error unknown command 'frobnicate now': try 'help'")]
    [InlineData("target many", "error target many: give a whole number of MiB from 0 to 16777215")]
    [InlineData("target -1", "error target -1: give a whole number of MiB from 0 to 16777215")]
    [InlineData("target 16777216", "error target 16777216: give a whole number of MiB from 0 to 16777215")]
    [InlineData("target 1 2", "error unknown command 'target 1 2': try 'help'")]
    public void What_makes_no_sense_is_told_in_a_sentence_and_changes_nothing(string line, string answer)
    {
        using Client client = new(_control.Path);
        client.Ask("target 3");
        Assert.Equal(answer, client.Ask(line));
        Assert.StartsWith("ok target_bytes=3145728 ", client.Ask("target"));
    }

    [Fact]
    public void A_line_beyond_all_bounds_ends_the_connection_and_no_other()
    {
        using Client client = new(_control.Path), other = new(_control.Path);
        client.Send(new string('x', 1000));
        Assert.Equal("error this line is longer than 64 bytes: try 'help'", client.Hear());
        other.Ask("target 1");
        Assert.Equal(1UL << 20, _balloon.TargetBytes);
    }

    [Fact]
    public void Lines_may_come_in_pieces_and_together_and_are_answered_to_the_last()
    {
        using Client client = new(_control.Path);
        client.Send("targ");
        client.Send("et 8\nhelp\ntarget 9\n");
        client.Finish();
        Assert.StartsWith("ok target_bytes=8388608 ", client.Hear());
        Assert.StartsWith("ok target [MIB]", client.Hear());
        Assert.StartsWith("ok target_bytes=9437184 ", client.Hear());
        Assert.Null(client.Hear());
    }

    [Fact]
    public void Statistics_are_those_the_guest_tells_now()
    {
        using SimulatedGuest guest = SimulatedGuest.For(_balloon);
        DriverRequest first = guest.Queue(Statistics).Add([BalloonDeviceTests.Filled(free: 1)]);
        guest.Kick(Statistics).RunUntilIdle();
        using Client client = new(_control.Path);
        client.Send("stats\ntarget\n");
        client.Finish();
        guest.RunUntil(() => first.IsUsed);
        guest.Queue(Statistics).Add([BalloonDeviceTests.Filled(free: 2)]);
        guest.Kick(Statistics).RunUntilIdle();
        Assert.Equal("ok target_bytes=0 actual_bytes=0 returned_bytes=0 free_bytes=2 total_bytes=99", client.Hear());
        Assert.Equal("ok target_bytes=0 actual_bytes=0 returned_bytes=0", client.Hear());
        Assert.Null(client.Hear());
    }

    [Fact]
    public void A_guest_that_tells_nothing_is_waited_for_two_seconds()
    {
        using Client client = new(_control.Path);
        client.Send("stats\n");
        Assert.True(SpinWait.SpinUntil(() => _clock.UntilNextTimer is not null, TimeSpan.FromSeconds(30)));
        Assert.Equal(BalloonControlSession.Patience, _clock.UntilNextTimer);
        _clock.Advance(BalloonControlSession.Patience);
        Assert.Equal("ok target_bytes=0 actual_bytes=0 returned_bytes=0 guest=silent", client.Hear());
        Assert.StartsWith("ok target_bytes=1048576 ", client.Ask("target 1"));
    }

    [Fact]
    public void Whoever_hangs_up_while_the_guest_is_asked_is_forgotten()
    {
        for (int i = 0; i < 2 * BalloonControl.ConnectionsMax; i++)
        {
            using Client client = new(_control.Path);
            client.Send("stats\n");
            Assert.True(SpinWait.SpinUntil(() => _clock.UntilNextTimer is not null, TimeSpan.FromSeconds(30)));
            client.Dispose();
            _clock.Advance(BalloonControlSession.Patience);
        }
        using Client last = new(_control.Path);
        Assert.StartsWith("ok ", last.Ask("target"));
    }

    [Fact]
    public void More_than_there_is_room_for_wait_until_one_hangs_up()
    {
        Client[] clients = [.. Enumerable.Range(0, BalloonControl.ConnectionsMax).Select(_ => new Client(_control.Path))];
        foreach (Client client in clients) Assert.StartsWith("ok ", client.Ask("target"));
        using Client waiting = new(_control.Path);
        waiting.Send("target 5\n");
        // On the way round through the reactor that has been served before: if there were room, the one who waits would have been served too.
        foreach (Client client in clients) Assert.StartsWith("ok target_bytes=0 ", client.Ask("target"));
        clients[3].Dispose();
        Assert.StartsWith("ok target_bytes=5242880 ", waiting.Hear());
        foreach (Client client in clients) client.Dispose();
    }

    [Fact]
    public void What_a_process_that_is_gone_left_behind_is_replaced_and_nothing_else()
    {
        string left = Path.Combine(_directory, "left"), file = Path.Combine(_directory, "file");
        using (Socket gone = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)) gone.Bind(new UnixDomainSocketEndPoint(left));
        using (BalloonControl again = new(_balloon, left, _reactor.Remote))
        {
            using Client client = new(left);
            Assert.StartsWith("ok ", client.Ask("target"));
        }
        File.WriteAllText(file, "kept");
        foreach (string taken in (string[])[file, _control.Path]) Assert.Throws<KernelException>(() => new BalloonControl(_balloon, taken, _reactor.Remote));
        Assert.Equal("kept", File.ReadAllText(file));
    }

    private sealed class Client : IDisposable
    {
        private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        private readonly StreamReader _answers;

        internal Client(string path)
        {
            _socket.Connect(new UnixDomainSocketEndPoint(path));
            _answers = new StreamReader(new NetworkStream(_socket));
        }

        internal string? Ask(string line)
        {
            Send(line + "\n");
            return Hear();
        }

        internal void Send(string text) => _socket.Send(System.Text.Encoding.ASCII.GetBytes(text));

        internal void Finish() => _socket.Shutdown(SocketShutdown.Send);

        /// <summary>The next answer; null if there comes none.</summary>
        internal string? Hear() => _answers.ReadLine();

        public void Dispose()
        {
            _answers.Dispose();
            _socket.Dispose();
        }
    }
}

public sealed class BalloonControlOnEpollTests() : BalloonControlTests(PollerKind.Epoll);

public sealed class BalloonControlOnIoRingTests() : BalloonControlTests(PollerKind.IoRing);
