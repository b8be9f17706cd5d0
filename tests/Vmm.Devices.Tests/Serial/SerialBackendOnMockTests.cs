using Moq;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A device of the library with a mocked reactor: what it asks the reactor for, handler by handler, with no turn of any loop.</summary>
[Trait("Device", "serial port")]
[Trait("Rings", "none")]
public sealed class SerialBackendOnMockTests : IDisposable
{
    private readonly Mock<IReactor> _reactor = new(MockBehavior.Strict);
    private readonly ReactorStandIn _behind;
    private readonly Uart16550 _uart = new(new Mock<IInterrupt>().Object);
    private readonly SocketPair _pair = new();
    private readonly List<Subscription> _watched = [];

    public SerialBackendOnMockTests()
    {
        _behind = new ReactorStandIn(_reactor.Object);
        _reactor.Setup(reactor => reactor.Add(It.IsAny<Subscription>())).Callback((Subscription added) => _watched.Add(added));
        _reactor.Setup(reactor => reactor.Modify(It.IsAny<Subscription>(), It.IsAny<Interest>()));
        _uart.Write(UartRegister.ModemControl, [(byte)UartModemControl.DataTerminalReady]);
    }

    [Fact]
    public void It_watches_its_input_once_and_arms_it_again_when_it_has_read()
    {
        OwnedFd line = _pair.TakeFd();
        using SerialBackend backend = new(_uart, _behind.Remote, line, null);
        backend.RegisterInto(_reactor.Object);
        Subscription input = Assert.Single(_watched);
        Assert.Equal((line, Interest.Readable.OneShot, backend), (input.Handle, input.Interest, (SerialBackend)input.Owner!));
        _reactor.Verify(reactor => reactor.Modify(It.IsAny<Subscription>(), It.IsAny<Interest>()), Times.Never);
    }

    [Fact]
    public void Output_that_is_not_taken_asks_for_the_room_once_and_goes_out_when_there_is_some()
    {
        using EventFd ready = new();
        Output host = new() { Ready = ready, Answer = Errno.Again };
        using SerialBackend backend = new(_uart, _behind.Remote, null, host);
        backend.RegisterInto(_reactor.Object);
        _uart.Write(UartRegister.Data, [(byte)'x']);
        // The port rings the doorbell of the reactor behind the mock; its handler gets the mock.
        _behind.Turn();
        Subscription room = Assert.Single(_watched);
        // By a descriptor of the stream's own: the output may close its.
        Assert.Equal(Interest.Writable.OneShot, room.Interest);
        Assert.NotSame(ready, room.Handle);
        Assert.Equal(0, backend.BytesOut);

        // More bytes ask for nothing more: the room is asked for already.
        _uart.Write(UartRegister.Data, [(byte)'y']);
        _behind.Turn();
        Assert.Single(_watched);
        _reactor.Verify(reactor => reactor.Modify(It.IsAny<Subscription>(), It.IsAny<Interest>()), Times.Never);

        // The reactor was wrong: the one-shot source is armed again.
        _behind.Dispatch(room, Readiness.Of(writable: true));
        _reactor.Verify(reactor => reactor.Modify(room, Interest.Writable.OneShot), Times.Once);

        host.Answer = Errno.None;
        _behind.Dispatch(room, Readiness.Of(writable: true));
        Assert.Equal("xy", string.Concat(host.Written.Select(each => (char)each)));
        Assert.Equal(2, backend.BytesOut);
    }

    [Fact]
    public void An_input_that_ended_is_removed_from_the_reactor()
    {
        OwnedFd line = _pair.TakeFd();
        using SerialBackend backend = new(_uart, _behind.Remote, line, null);
        backend.RegisterInto(_reactor.Object);
        Subscription input = Assert.Single(_watched);
        _reactor.Setup(reactor => reactor.Remove(input)).Returns(true);
        _pair.Host.Dispose();
        _behind.Dispatch(input, Readiness.Of(readable: true, hangUp: true));
        _reactor.Verify(reactor => reactor.Remove(input), Times.Once);
    }

    public void Dispose()
    {
        _behind.Dispose();
        _pair.Dispose();
    }

    private sealed class Output : ISerialOutput
    {
        internal Errno Answer { get; set; }

        internal List<byte> Written { get; } = [];

        public OwnedFd? Ready { get; init; }

        public Errno Write(ReadOnlySpan<byte> bytes, out int written)
        {
            written = Answer == Errno.None ? bytes.Length : 0;
            if (Answer == Errno.None) Written.AddRange(bytes);
            return Answer;
        }

        public void Dispose()
        {
        }
    }
}
