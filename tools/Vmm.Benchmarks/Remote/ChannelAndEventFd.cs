using System.Threading.Channels;

namespace Vmm.Benchmarks;

/// <summary>What the class library offers: a channel for the messages, an eventfd to wake the loop.</summary>
internal sealed class ChannelAndEventFd : RemoteContender
{
    private readonly Channel<Signal> _channel = Channel.CreateUnbounded<Signal>(new UnboundedChannelOptions { SingleReader = true });
    private readonly EventFd _wake = new();
    private readonly Signal _message = new();
    private readonly Signal _last;

    internal ChannelAndEventFd(int producers) : base(producers)
    {
        _last = new Signal(AllHandled);
        Reactor.Remote.Invoke(reactor => reactor.Add(Interest.Readable.WithFd(_wake).WithHandler(Drain)));
    }

    protected override void Send(int producer, long count)
    {
        for (long i = 0; i < count; i++) Write(_message);
    }

    protected override void SendLast() => Write(_last);

    private void Write(Signal signal)
    {
        _channel.Writer.TryWrite(signal);
        FiringPattern.Fire(_wake.Number);
    }

    private void Drain(EventFd fd)
    {
        fd.TryRead(out _);
        while (_channel.Reader.TryRead(out Signal? signal)) signal.Handle();
    }
}
