using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port at work: carries bytes between its host side and its two queues. Input is read when the last of it went to the guest; output is
/// gathered, and waits for the host side as the port says. On the device's reactor.
/// <code>
/// input    Quiet --the guest has taken all--> Watched --the host sent--> Ready --read--> Quiet
///          Ready --end of the stream--> Ended         a file is Ready after each read, until its end
/// output   Open --the host side is full--> Blocked --it has room--> Open
///          Open --a write fails--> Broken
/// Another host side starts with Quiet and Open.
/// </code>
/// </summary>
internal sealed partial class ConsoleChannel(ConsoleDevice device, ConsolePort port, int index)
{
    /// <summary>Most bytes of input that wait for the guest's buffers.</summary>
    private const int InputBytesMax = 4096;

    internal static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a receive buffer without a writable byte (§ 5.3.6.1)");

    private readonly byte[] _input = new byte[InputBytesMax];
    private int _inputStart;
    private int _inputEnd;
    private ConsoleConnection? _connection;
    private Subscription<OwnedFd>? _readable;
    private IReactor? _reactor;
    private Doorbell? _hostChanged;
    private InputState _inputState;
    private OutputState _outputState;

    private enum InputState
    {
        /// <summary>Nothing is to be read, and the reactor does not watch the host side.</summary>
        Quiet,

        /// <summary>The reactor reports when there is something to read.</summary>
        Watched,

        /// <summary>One read is due. It may block if it is made twice.</summary>
        Ready,

        /// <summary>The host side ended or failed: it is not read any more.</summary>
        Ended,
    }

    private enum OutputState
    {
        Open,

        /// <summary>The host side is full; the reactor reports when it has room.</summary>
        Blocked,

        /// <summary>A write failed: the host side is not written to any more.</summary>
        Broken,
    }

    internal ConsolePort Port => port;

    internal int Index => index;

    /// <summary>Whether the guest has the port open; without MULTIPORT it always has.</summary>
    internal bool IsGuestOpen { get; set; }

    /// <summary>
    /// Control messages about this port that are pending for the driver: a bit for each event, so that no driver can make them pile up.
    /// </summary>
    internal uint Pending { get; set; }

    /// <summary>Whether the driver has set the port up: nothing but its addition is announced before.</summary>
    internal bool IsAnnounced { get; set; }

    internal bool IsConnected => _connection is not null;

    internal void Start(IReactor reactor, RemoteEndpoint remote, bool guestOpen)
    {
        StreamCalls.Bind();
        _reactor = reactor;
        IsGuestOpen = guestOpen;
        Pending = 0;
        IsAnnounced = false;
        _hostChanged = remote.CreateDoorbell(_ => ServeHost());
        Doorbell typed = remote.CreateDoorbell(_ => device.ServeQueue(ConsoleProtocol.ReceiveQueueOf(index)));
        port.Mirror?.Connect(() => typed.TryRing());
        ServeHost();
    }

    /// <summary>The driver is gone. The host side stays, for the next one; input that was read already is kept for it.</summary>
    internal void Stop()
    {
        Unwatch();
        _connection = null;
        port.Mirror?.Connect(null);
        port.Serve(null);
        _reactor = null;
    }

    /// <summary>Gives the guest what the host sent, as far as it has buffers.</summary>
    internal void ServeReceive(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (IsGuestOpen && HasInput() && queue.TryPop(out DescriptorChain? chain))
        {
            ChainWriter writer = chain.Writable;
            int given = writer.CopyFrom(_input.AsSpan(_inputStart, _inputEnd - _inputStart));
            _inputStart += given;
            queue.Push(chain, (uint)given);
            if (given == 0) queue.Fault(NoRoom);
        }
        if (_inputStart == _inputEnd && IsGuestOpen) WatchAgain();
    }

    /// <summary>The host side changed, or the driver has just come.</summary>
    private void ServeHost()
    {
        if (_reactor is null) return;
        ConsoleConnection? wanted = port.Serve(_hostChanged);
        if (wanted == _connection)
        {
            if (_outputState == OutputState.Blocked) return;
            FlushForHost();
            device.ServeQueue(ConsoleProtocol.TransmitQueueOf(index));
            return;
        }
        Unwatch();
        bool wasConnected = IsConnected;
        _connection = wanted;
        if (!KeepsOutput) _output.Clear();
        FlushForHost();
        if (wanted?.Input is { } input) Watch(input);
        if (wasConnected != IsConnected) device.HostOpened(this);
        device.ServeQueue(ConsoleProtocol.ReceiveQueueOf(index));
        device.ServeQueue(ConsoleProtocol.TransmitQueueOf(index));
    }

    /// <summary>
    /// Whether there is input for the guest; reads some if there might be. Once for each time the host says so: it may block.
    /// </summary>
    private bool HasInput()
    {
        if (_inputStart < _inputEnd) return true;
        (_inputStart, _inputEnd) = (0, port.Mirror?.TakeTyped(_input) ?? 0);
        if (_inputEnd > 0) return true;
        if (_inputState != InputState.Ready || _connection?.Input is not { } input) return false;
        // A file has no watch, and can be read at any time.
        if (_readable is not null) _inputState = InputState.Quiet;
        Errno errno = StreamCalls.Read(input.Number, _input, out int length);
        (_inputStart, _inputEnd) = (0, length);
        if (length > 0) return true;
        if (errno is Errno.Again or Errno.Interrupted) return false;
        _inputState = InputState.Ended;
        HangUp();
        return false;
    }

    private void Watch(OwnedFd input)
    {
        _readable = Interest.Readable.OneShot.WithFd(input.Duplicate()).WithHandler(_ =>
        {
            _inputState = InputState.Ready;
            device.ServeQueue(ConsoleProtocol.ReceiveQueueOf(index));
        });
        try
        {
            _reactor!.Add(_readable);
            _inputState = InputState.Watched;
        }
        catch (KernelException refused) when (refused.Errno == Errno.NotPermitted)
        {
            // A file can't be polled because it never makes anyone wait.
            _readable.Fd.Dispose();
            _readable = null;
            _inputState = InputState.Ready;
        }
    }

    private void WatchAgain()
    {
        if (_readable is null || _inputState != InputState.Quiet) return;
        _inputState = InputState.Watched;
        _reactor!.Modify(_readable, Interest.Readable.OneShot);
    }

    private void HangUp()
    {
        if (_connection is not { OnHungUp: not null } connection) return;
        port.HungUp(connection);
        // Not now: the queue is being served.
        _hostChanged!.TryRing();
    }

    private void Unwatch()
    {
        if (_readable is not null) _reactor!.Remove(_readable);
        if (_writable is not null) _reactor!.Remove(_writable);
        _readable = _writable = null;
        _inputState = InputState.Quiet;
        _outputState = OutputState.Open;
    }
}
