using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port at work: carries bytes between its host side and its two queues. Input is read when the last of it went to the guest; output is
/// gathered, and waits for the host side as the port says. On the device's reactor.
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
    private bool _inputReady;
    private bool _inputIsFile;
    private bool _inputArmed;
    private bool _inputEnded;

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
        if (_inputStart == _inputEnd && IsGuestOpen) ArmInput();
    }

    /// <summary>The host side changed, or the driver has just come.</summary>
    private void ServeHost()
    {
        if (_reactor is null) return;
        ConsoleConnection? wanted = port.Serve(_hostChanged);
        if (wanted == _connection)
        {
            if (_outputBlocked) return;
            Flush();
            device.ServeQueue(ConsoleProtocol.TransmitQueueOf(index));
            return;
        }
        Unwatch();
        bool wasConnected = IsConnected;
        _connection = wanted;
        _inputReady = _inputIsFile = _inputEnded = _outputBlocked = _outputBroken = false;
        if (!KeepsOutput) _output.Clear();
        Flush();
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
        if (!_inputReady || _inputEnded || _connection?.Input is not { } input) return false;
        _inputReady = _inputIsFile;
        Errno errno = StreamCalls.Read(input.Number, _input, out int length);
        (_inputStart, _inputEnd) = (0, length);
        if (length > 0) return true;
        if (errno is Errno.Again or Errno.Interrupted) return false;
        _inputEnded = true;
        HangUp();
        return false;
    }

    private void Watch(OwnedFd input)
    {
        _readable = Interest.Readable.OneShot.WithFd(input.Duplicate()).WithHandler(_ =>
        {
            _inputArmed = false;
            _inputReady = true;
            device.ServeQueue(ConsoleProtocol.ReceiveQueueOf(index));
        });
        try
        {
            _reactor!.Add(_readable);
            _inputArmed = true;
        }
        catch (KernelException refused) when (refused.Errno == Errno.NotPermitted)
        {
            // A file can't be polled because it never makes anyone wait.
            _readable.Fd.Dispose();
            _readable = null;
            _inputIsFile = _inputReady = true;
        }
    }

    private void ArmInput()
    {
        if (_readable is null || _inputArmed || _inputReady || _inputEnded) return;
        _inputArmed = true;
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
        _inputArmed = false;
    }
}
