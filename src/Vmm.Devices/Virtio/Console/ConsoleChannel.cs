using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port at work: carries bytes between its host side and its two queues. Input is read when the last of it went to the guest; output is
/// gathered, and waits for the host side as the port says. On the device's reactor.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The end of a session closes the host side.")]
internal sealed partial class ConsoleChannel(ConsoleDevice device, ConsolePort port, int index)
{
    /// <summary>Most bytes of input that wait for the guest's buffers.</summary>
    private const int InputBytesMax = 4096;

    private const ulong PendingMax = byte.MaxValue;

    internal static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a receive buffer without a writable byte (§ 5.3.6.1)");

    private readonly byte[] _input = new byte[InputBytesMax];
    private int _inputStart;
    private int _inputEnd;
    private ConsoleConnection? _connection;
    private HostStream? _host;
    private IReactor? _reactor;
    private Doorbell? _hostChanged;

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
        CloseHost();
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
        if (_inputStart == _inputEnd && IsGuestOpen) _host?.Watch();
    }

    /// <summary>The host side changed, or the driver has just come.</summary>
    private void ServeHost()
    {
        if (_reactor is null) return;
        ConsoleConnection? wanted = port.Serve(_hostChanged);
        if (wanted == _connection)
        {
            if (_host is not { IsBlocked: true }) HasRoom();
            return;
        }
        CloseHost();
        bool wasConnected = IsConnected;
        _connection = wanted;
        if (wanted is not null) OpenHost(wanted);
        if (!KeepsOutput) _output.Clear();
        FlushForHost();
        _host?.Watch();
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
        _inputEnd = _host?.Read(_input) ?? 0;
        return _inputEnd > 0;
    }

    /// <summary>Serves a host side. The stream has a duplicate of its own of the input, which the port may close first.</summary>
    private void OpenHost(ConsoleConnection to) => _host = new HostStream(_reactor!, to.Input?.Duplicate(), to.Output)
    {
        OnInput = () => device.ServeQueue(ConsoleProtocol.ReceiveQueueOf(index)),
        OnInputEnd = _ => HangUp(),
        OnRoom = HasRoom,
        OnOutputBroken = BreakOutput,
    };

    private void CloseHost()
    {
        _host?.Dispose();
        _host = null;
    }

    private void HangUp()
    {
        if (_connection is not { OnHungUp: not null } connection) return;
        port.HungUp(connection);
        // Not now: the queue is being served.
        _hostChanged!.TryRing();
    }

    internal void Save(StateWriter to)
    {
        to.Add("name", port.Name);
        to.Add("open", IsGuestOpen);
        to.Add("announced", IsAnnounced);
        to.Add("connected", IsConnected);
        to.Add("pending", (ulong)Pending);
        to.Add("taken", (long)_taken);
        to.Add("input", _input.AsSpan(_inputStart, _inputEnd - _inputStart));
        _output.Save(to);
    }

    /// <summary>Has what the port before had. Its host side is the one of this process.</summary>
    internal void Restore(StateReader from, bool isMultiport)
    {
        if (from.Text("name", ConsolePort.NameLengthMax) is var name && name != port.Name)
            throw from.Wrong("name", $"is '{name}', and port {index} of {device.Name} is '{port.Name}'");
        bool isOpen = from.Boolean("open"), isAnnounced = from.Boolean("announced");
        uint pending = (uint)from.UInt64("pending", PendingMax);
        _taken = (ulong)from.Int64("taken", 0, uint.MaxValue);
        byte[] input = from.Bytes("input", InputBytesMax);
        input.CopyTo(_input, 0);
        (_inputStart, _inputEnd) = (0, input.Length);
        _output.Restore(from);
        if (isMultiport) (IsGuestOpen, IsAnnounced, Pending) = (isOpen, isAnnounced, pending);
        // What the guest printed last goes out, whether the guest goes on or not.
        _hostChanged?.TryRing();
    }
}
