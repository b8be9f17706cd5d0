using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// One front-end's connection: reads its requests one by one, answers each before it looks at the next, and turns them into the lifecycle of a
/// device. Lives on the device's reactor. The front-end is not trusted: whatever it sends is carried out, refused with an acknowledgement that
/// says so, or ends the connection; it never ends the process nor holds a neighbour up.
/// </summary>
internal sealed partial class VhostUserSession : Subscriber
{
    /// <summary>Most requests of one turn: a front-end that floods its socket gets its neighbours' patience no longer than this.</summary>
    private const int RequestsPerTurnMax = 16;

    private readonly VhostUserBackend _backend;
    private readonly VirtioDevice _device;
    private readonly VhostUserBackendOptions _options;
    private readonly IReactor _reactor;
    private readonly RemoteEndpoint _remote;
    private readonly Action _onEnded;
    private readonly Subscription<UnixSocket> _socket;
    private readonly Doorbell _again;
    private readonly MessageReader _reader = new();
    private readonly MessageWriter _writer = new();
    private readonly Vring[] _rings;
    private readonly VhostUserInterrupt _interrupt;
    private string? _refusal;
    private bool _hasEnded;

    /// <summary>What the request in hand still waits for: itself, while it is carried out, and rings on their way.</summary>
    private int _openSteps;

    /// <param name="backend">Whose device is served.</param>
    /// <param name="socket">The connection; taken over.</param>
    /// <param name="reactor">The device's reactor, on its thread.</param>
    /// <param name="onEnded">Called once, when the front-end is gone, every ring is quiet and the device is reset.</param>
    internal VhostUserSession(VhostUserBackend backend, UnixSocket socket, IReactor reactor, Action onEnded)
        : base($"{backend.Device.Name}/front-end")
    {
        _backend = backend;
        _device = backend.Device;
        _options = backend.Options;
        _reactor = reactor;
        _remote = backend.Remote;
        _onEnded = onEnded;
        _rings = [.. _device.Queues.Select((_, index) => new Vring(index, backend.QueueRemote(index), backend.Statistics[index]))];
        _interrupt = new VhostUserInterrupt(_rings, _remote, OnConfigChanged, OnNeedsReset);
        _again = _remote.CreateDoorbell(_ => Pump());
        // Edge-triggered, both ways, for its whole life: a front-end that hangs up while a ring comes to rest is noticed after that, once.
        _socket = Interest.Readable.AndWritable.AndReadHangUp.EdgeTriggered.WithFd(socket).WithHandler(_ => Pump()).OwnedBy(this);
        _socket.RegisterInto(reactor);
    }

    /// <summary>Ends the connection from our side.</summary>
    internal void Stop() => End(null);

    /// <summary>A handler threw: a bug. Whoever comes next starts afresh.</summary>
    protected override void Dispose(bool disposing)
    {
        End("a handler failed");
        base.Dispose(disposing);
    }

    /// <summary>Sends what is to be sent, then reads, carries out and answers requests, until one has to wait or there is none.</summary>
    private void Pump()
    {
        for (int left = RequestsPerTurnMax; !_hasEnded; left--)
        {
            if (!_writer.Flush(_socket.Fd))
            {
                End(null);
                return;
            }
            // Nothing more is read while a reply is not out or a ring is not quiet: at most one request and one reply take memory.
            if (_writer.IsPending || _openSteps > 0) return;
            if (left == 0)
            {
                _again.TryRing();
                return;
            }
            switch (_reader.Read(_socket.Fd))
            {
                case ReadProgress.Incomplete: return;
                case ReadProgress.Closed: End(null); return;
                case ReadProgress.Broken: End(_reader.Complaint); return;
                case ReadProgress.Message: Serve(); break;
            }
        }
    }

    private void Serve()
    {
        VhostUserRequest request = (VhostUserRequest)_reader.Header.Request;
        _openSteps = 1;
        _refusal = Check(request);
        try
        {
            if (_refusal is null) Refuse(Carry(request, _reader.Payload));
        }
        catch (KernelException exception)
        {
            // The host has no more descriptors or memory for this front-end.
            Refuse(exception.Message);
        }
        CloseStep();
    }

    /// <summary>The request in hand is not answered before a step that was opened is closed.</summary>
    private void OpenStep() => _openSteps++;

    /// <summary>Answers the request in hand if this was its last step.</summary>
    /// <returns>Whether it was.</returns>
    private bool CloseStep()
    {
        if (--_openSteps > 0 || _hasEnded) return false;
        Answer();
        return true;
    }

    /// <summary>Closes a step that another thread was asked for, and goes on with the next request if it was the last.</summary>
    private void CloseLateStep()
    {
        if (CloseStep()) Pump();
    }

    /// <summary>Refuses the request in hand, for the first reason there is.</summary>
    private void Refuse(string? refusal) => _refusal ??= refusal;

    /// <summary>What can be said of a message without looking into it.</summary>
    private string? Check(VhostUserRequest request)
    {
        if (!MessageShape.TryGet(request, out MessageShape shape) || _reader.Header.IsReply) return "an unknown request";
        if ((shape.Needs & ~_protocolFeatures) != 0) return "a request whose protocol feature was not negotiated";
        if (!shape.AllowsPayload(request, _reader.Header.PayloadBytes)) return "a payload of a wrong size";
        return shape.AllowsFds(_reader.Fds.Count) ? null : "too many or too few descriptors";
    }

    /// <summary>Carries a request out, or starts to.</summary>
    /// <returns>Why it is refused; null if it was done, or will be when its last step is closed.</returns>
    private string? Carry(VhostUserRequest request, ReadOnlySpan<byte> payload) => request switch
    {
        VhostUserRequest.GetFeatures => Reply(OfferedFeatures),
        VhostUserRequest.SetFeatures => SetFeatures(ReadWord(payload)),
        // Whoever connected owns the device; giving it up without going means nothing (the document asks to ignore it).
        VhostUserRequest.SetOwner or VhostUserRequest.ResetOwner => null,
        VhostUserRequest.GetProtocolFeatures => Reply((ulong)OfferedProtocolFeatures),
        VhostUserRequest.SetProtocolFeatures => SetProtocolFeatures((ProtocolFeatures)ReadWord(payload)),
        VhostUserRequest.GetQueueNum => Reply((ulong)_rings.Length),
        VhostUserRequest.SetBackendRequestFd => SetBackendChannel(),
        VhostUserRequest.GetConfig => GetConfig(payload),
        VhostUserRequest.SetConfig => SetConfig(payload),
        VhostUserRequest.SetNetMtu => SetNetMtu(ReadWord(payload)),
        VhostUserRequest.GetStatus => Reply((ulong)_status),
        VhostUserRequest.SetStatus => SetStatus(ReadWord(payload)),
        VhostUserRequest.ResetDevice => ResetDevice(),
        VhostUserRequest.SetMemoryTable => SetMemoryTable(payload),
        VhostUserRequest.GetMemorySlotsMax => Reply(GuestMemory.RegionsMax),
        VhostUserRequest.AddMemoryRegion => AddMemoryRegion(payload),
        VhostUserRequest.RemoveMemoryRegion => RemoveMemoryRegion(payload),
        VhostUserRequest.GetInflightFd => GetInflightFd(payload),
        VhostUserRequest.SetInflightFd => SetInflightFd(payload),
        VhostUserRequest.SetLogBase => SetLogBase(payload),
        // An eventfd that may tell the front-end of changes to the log. It polls all the same: nothing is kept.
        VhostUserRequest.SetLogFd => null,
        VhostUserRequest.SetVringNum or VhostUserRequest.SetVringAddress or VhostUserRequest.SetVringBase or VhostUserRequest.GetVringBase
            or VhostUserRequest.SetVringEnable or VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringError
            => CarryForRing(request, payload),
        _ => "a request that is not offered",
    };

    /// <summary>Acknowledges a request that wants it; a refusal that nobody waits for ends the connection, or it would go unnoticed.</summary>
    private void Answer()
    {
        string? refusal = _refusal;
        VhostUserHeader header = _reader.Header;
        bool hasReply = MessageShape.TryGet((VhostUserRequest)header.Request, out MessageShape shape) && shape.HasReply;
        bool acknowledges = header.NeedsReply && !hasReply && _protocolFeatures.HasFlag(ProtocolFeatures.ReplyAck);
        if (refusal is not null && !acknowledges)
        {
            End($"{(VhostUserRequest)header.Request} refused: {refusal}");
            return;
        }
        if (refusal is not null) _backend.WarnOnce($"{(VhostUserRequest)header.Request} refused: {refusal}");
        if (acknowledges) Reply(refusal is null ? 0UL : 1UL);
    }

    private string? Reply(ulong word)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(BeginReply(sizeof(ulong)), word);
        return null;
    }

    private Span<byte> BeginReply(int payloadBytes, OwnedFd? fd = null) =>
        _writer.Begin(VhostUserHeader.ForReply(_reader.Header.Request, payloadBytes), fd);

    /// <summary>Lets go of everything, in order: the connection, the rings once they are quiet, the device, the memory.</summary>
    /// <param name="why">What the front-end did; null if it just went.</param>
    private void End(string? why)
    {
        if (_hasEnded) return;
        _hasEnded = true;
        if (why is not null) _backend.WarnOnce($"connection ended: {why}");
        RemoveFrom(_reactor);
        _reader.Dispose();
        _writer.Dispose();
        WhenStopped(_rings, Release);
    }

    private void Release()
    {
        ResetDriver();
        _memory.DirtyLog = null;
        _dirtyLog?.Dispose();
        _memory.Dispose();
        _inflight?.Dispose();
        foreach (Vring ring in _rings) ring.Dispose();
        _onEnded();
    }

    private static ulong ReadWord(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt64LittleEndian(payload);

    private static uint ReadHalf(ReadOnlySpan<byte> payload, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(payload[offset..]);
}
