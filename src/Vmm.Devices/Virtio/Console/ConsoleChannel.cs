using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port at work: carries bytes between its host side and its two queues, with back-pressure both ways. Input is read when the last of it
/// went to the guest; a chain of output is given back when the host has taken all of it. On the device's reactor.
/// </summary>
internal sealed class ConsoleChannel(ConsoleDevice device, ConsolePort port, int index)
{
    /// <summary>Most bytes of input that wait for the guest's buffers.</summary>
    private const int InputBytesMax = 4096;

    /// <summary>Most bytes of output in one turn; then the other devices have theirs.</summary>
    private const uint OutputBytesPerTurnMax = 256 * 1024;

    internal static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a receive buffer without a writable byte (§ 5.3.6.1)");

    private readonly byte[] _input = new byte[InputBytesMax];
    private int _inputStart;
    private int _inputEnd;
    private DescriptorChain? _chain;
    private ulong _sent;
    private ConsoleConnection? _connection;
    private Subscription<OwnedFd>? _readable;
    private Subscription<OwnedFd>? _writable;
    private IReactor? _reactor;
    private Doorbell? _hostChanged;
    private bool _inputReady;
    private bool _inputIsFile;
    private bool _inputArmed;
    private bool _inputEnded;
    private bool _outputBlocked;
    private bool _outputBroken;

    internal ConsolePort Port => port;

    internal int Index => index;

    /// <summary>Whether the guest has the port open; without MULTIPORT it always has.</summary>
    internal bool IsGuestOpen { get; set; }

    /// <summary>Control messages the device owes the driver about this port: a bit for each event, so that no driver can make them pile up.</summary>
    internal uint Owed { get; set; }

    /// <summary>Whether the driver has set the port up: nothing but its addition is told before.</summary>
    internal bool IsAnnounced { get; set; }

    internal bool IsConnected => _connection is not null;

    internal void Start(IReactor reactor, RemoteEndpoint remote, bool guestOpen)
    {
        StreamCalls.Bind();
        _reactor = reactor;
        IsGuestOpen = guestOpen;
        Owed = 0;
        IsAnnounced = false;
        _hostChanged = remote.CreateDoorbell(_ => ServeHost());
        ServeHost();
    }

    /// <summary>The driver is gone. The host side stays, for the next one; input that was read already is kept for it.</summary>
    internal void Stop()
    {
        Unwatch();
        _connection = null;
        port.Serve(null);
        _reactor = null;
    }

    /// <summary>Gives the guest what the host sent, as far as it has buffers.</summary>
    internal void ServeReceive(VirtQueue queue)
    {
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

    /// <summary>Gives the host what the guest sent, as far as it takes it.</summary>
    internal void ServeTransmit(VirtQueue queue)
    {
        uint budget = OutputBytesPerTurnMax;
        while (!_outputBlocked && (_chain is not null || queue.TryPop(out _chain)))
        {
            if (!TrySend(_chain, ref budget)) break;
            queue.Push(_chain, 0);
            _chain = null;
            _sent = 0;
        }
    }

    /// <summary>The queue stops: what the host did not take is lost.</summary>
    internal void StopTransmit(VirtQueue queue)
    {
        if (_chain is { } chain) queue.Push(chain, 0);
        _chain = null;
        _sent = 0;
    }

    /// <summary>Sends the rest of a chain.</summary>
    /// <returns>Whether all of it went out, or there is nobody to send it to.</returns>
    private bool TrySend(DescriptorChain chain, ref uint budget)
    {
        ChainReader reader = chain.Readable;
        reader.TrySkip(_sent);
        while (budget > 0 && _connection?.Output is { } output && !_outputBroken)
        {
            if (!reader.TryNext(out ReadOnlySpan<byte> piece, Math.Min(budget, InputBytesMax))) return true;
            Errno errno = output.Write(piece, out int written);
            if (errno is not (Errno.None or Errno.Interrupted or Errno.Again))
            {
                BreakOutput(errno);
                return true;
            }
            _sent += (uint)written;
            budget -= (uint)written;
            if (errno == Errno.Again)
            {
                AwaitRoom(output);
                return false;
            }
            if (written < piece.Length)
            {
                reader = chain.Readable;
                reader.TrySkip(_sent);
            }
        }
        if (budget > 0) return true;
        device.ServeLater(chain.Queue);
        return false;
    }

    /// <summary>The host side changed, or the driver has just come.</summary>
    private void ServeHost()
    {
        if (_reactor is null) return;
        ConsoleConnection? wanted = port.Serve(_hostChanged);
        if (wanted == _connection) return;
        Unwatch();
        bool wasConnected = IsConnected;
        _connection = wanted;
        _inputReady = _inputIsFile = _inputEnded = _outputBlocked = _outputBroken = false;
        if (wanted?.Input is { } input) Watch(input);
        if (wasConnected != IsConnected) device.HostOpened(this);
        device.Serve(ConsoleProtocol.ReceiveQueueOf(index));
        device.Serve(ConsoleProtocol.TransmitQueueOf(index));
    }

    /// <summary>Whether there is input for the guest; reads some if there might be. Once for each time the host says so: it may block.</summary>
    private bool HasInput()
    {
        if (_inputStart < _inputEnd) return true;
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
            device.Serve(ConsoleProtocol.ReceiveQueueOf(index));
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

    private void AwaitRoom(ISerialOutput output)
    {
        _outputBlocked = true;
        if (_writable is not null)
        {
            _reactor!.Modify(_writable, Interest.Writable.OneShot);
            return;
        }
        _writable = Interest.Writable.OneShot.WithFd(output.Ready!.Duplicate()).WithHandler(_ =>
        {
            _outputBlocked = false;
            device.Serve(ConsoleProtocol.TransmitQueueOf(index));
        });
        _reactor!.Add(_writable);
    }

    private void BreakOutput(Errno errno)
    {
        _outputBroken = true;
        if (_connection?.OnHungUp is null) device.ReportOutputFault(errno, port);
        else HangUp();
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
