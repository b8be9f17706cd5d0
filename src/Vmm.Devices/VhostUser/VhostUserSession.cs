using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// One front-end's connection: reads its requests one by one, answers each before it looks at the next, and turns them into the lifecycle
/// of a device. One task on the device's reactor. The front-end is not trusted: whatever it sends is carried out, refused with an
/// acknowledgement that says so, or ends the connection; it never ends the process nor holds a neighbour up.
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
    private readonly DeviceRunner _runner;
    private readonly VhostUserInterrupt _interrupt;
    /// <summary>The socket can be read or written again, or the session is to end.</summary>
    private readonly TaskSignal _wake = new();
    private string? _complaint;
    private bool _hasEnded;

    /// <param name="backend">Whose device is served.</param>
    /// <param name="socket">The connection; taken over.</param>
    /// <param name="reactor">The device's reactor, on its thread.</param>
    /// <param name="onEnded">Called once, when the front-end is gone, every ring is quiet and the device is reset.</param>
    /// <exception cref="KernelException">The host has no descriptor left for it. The connection stays the caller's.</exception>
    internal VhostUserSession(VhostUserBackend backend, UnixSocket socket, IReactor reactor, Action onEnded)
        : base($"{backend.Device.Name}/front-end")
    {
        _backend = backend;
        _device = backend.Device;
        _options = backend.Options;
        _reactor = reactor;
        _remote = backend.Remote;
        _onEnded = onEnded;
        _rings = [.. _device.Queues.Select((_, index) => new Vring(index))];
        _runner = new DeviceRunner(_device, _remote, backend.QueueReactors, queue => _rings[queue].Kick!.Duplicate(), HostRefused);
        _device.Config.IsModeKnown = false;
        _interrupt = new VhostUserInterrupt(_rings, _remote, OnConfigChanged, OnNeedsReset);
        _again = _remote.CreateDoorbell(_ => _wake.Set());
        EventFd lost = new();
        _mapped = _options.Mappings.Open(lost);
        // Edge-triggered, in both directions, for its whole life: a front-end that hangs up while a ring stops is noticed after that, once.
        _socket = Interest.Readable.AndWritable.AndReadHangUp.EdgeTriggered.WithFd(socket).WithHandler(_ => _wake.Set()).OwnedBy(this);
        try
        {
            Interest.Kick.WithFd(lost).WithHandler(_ => End("its memory was shortened, or a hole was made in it, while it was in use"))
                .OwnedBy(this).RegisterInto(reactor);
            _socket.RegisterInto(reactor);
        }
        catch
        {
            RemoveFrom(reactor);
            lost.Dispose();
            _mapped.Dispose();
            throw;
        }
    }

    /// <summary>Begins to serve the front-end.</summary>
    internal void Start()
    {
        AnnounceFrontEnd();
        ReactorTasks.Of(_reactor).Spawn(static session => session.Run(), this).Detach();
    }

    /// <summary>Ends the connection from our side. The rings stop after that.</summary>
    internal void Stop() => End(null);

    /// <summary>A handler threw: a bug. The front-end that comes next starts afresh.</summary>
    protected override void Dispose(bool disposing)
    {
        End("a handler failed");
        base.Dispose(disposing);
    }

    /// <summary>
    /// The whole session: requests, one after the other, then everything is let go in order: the connection, the rings once they are quiet,
    /// the device, the memory.
    /// </summary>
    private async ReactorTask Run()
    {
        string? why = "a request failed";
        bool reactorEnds = false;
        try
        {
            why = await ServeRequests();
        }
        catch (TaskAbortedException)
        {
            why = null;
            reactorEnds = true;
            throw;
        }
        finally
        {
            End(why);
            // The timers of a reactor that ends are gone with it.
            if (!reactorEnds) AnnounceEnd();
            if (_complaint is not null) _backend.WarnOnce($"connection ended: {_complaint}", DeviceEvents.FrontEndLeft);
            _writer.Dispose();
            await _runner.ResetAsync();
            _memory.DirtyTracker = null;
            try
            {
                RetireAll();
                // A reactor that ends runs nothing that comes back to it.
                if (reactorEnds) DropRetired();
                else await LetGo();
            }
            finally
            {
                Release();
            }
        }
    }

    /// <summary>Sends what is to be sent, then reads, carries out and answers a request; again and again.</summary>
    /// <returns>What the front-end did wrong; null if it just went, or if the session was ended from our side.</returns>
    private async ReactorTask<string?> ServeRequests()
    {
        for (int left = RequestsPerTurnMax; ; left--)
        {
            if (left == 0)
            {
                // Through the remote endpoint, behind the descriptors that are ready.
                _again.TryRing();
                await _wake;
                left = RequestsPerTurnMax;
            }
            // Nothing more is read while a reply is not out or a ring is not quiet: at most one request and one reply take memory.
            if (_hasEnded || !_writer.Flush(_socket.Fd)) return null;
            ReadProgress progress = _writer.IsPending ? ReadProgress.Incomplete : _reader.Read(_socket.Fd);
            switch (progress)
            {
                case ReadProgress.Incomplete:
                    await _wake;
                    left = RequestsPerTurnMax;
                    break;
                case ReadProgress.Message:
                    if (await Serve() is { } complaint) return complaint;
                    break;
                default:
                    return progress == ReadProgress.Broken ? _reader.Complaint : null;
            }
        }
    }

    /// <summary>Carries a request out, and answers it.</summary>
    /// <returns>Why the connection has to end; null if it goes on.</returns>
    private async ReactorTask<string?> Serve()
    {
        VhostUserRequest request = (VhostUserRequest)_reader.Header.Request;
        string? refusal = Check(request);
        try
        {
            if (refusal is null) refusal = await Carry(request);
        }
        catch (KernelException exception)
        {
            // The host has no more descriptors or memory for this front-end.
            refusal = exception.Message;
        }
        // Now, not with the next message: that may never come.
        await LetGo();
        return _hasEnded ? null : Answer(refusal);
    }

    /// <summary>What can be said of a message without looking into it.</summary>
    private string? Check(VhostUserRequest request)
    {
        if (!MessageShape.TryGet(request, out MessageShape shape) || _reader.Header.IsReply) return "an unknown request";
        if ((shape.Needs & ~_protocolFeatures) != 0) return "a request whose protocol feature was not negotiated";
        if (!shape.AllowsPayload(request, _reader.Header.PayloadBytes)) return "a payload of a wrong size";
        return shape.AllowsFds(_reader.Fds.Count) ? null : "too many or too few descriptors";
    }

    /// <summary>Carries a request out.</summary>
    /// <returns>Why it is refused; null if it was done.</returns>
    private ReactorTask<string?> Carry(VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetStatus => SetStatus(ReadWord(_reader.Payload)),
        VhostUserRequest.ResetDevice => ResetDevice(),
        VhostUserRequest.SetMemoryTable => SetMemoryTable(),
        VhostUserRequest.AddMemoryRegion => AddMemoryRegion(),
        VhostUserRequest.RemoveMemoryRegion => RemoveMemoryRegion(),
        VhostUserRequest.SetLogBase => SetLogBase(),
        VhostUserRequest.GetInflightFd => GetInflightFd(),
        VhostUserRequest.SetInflightFd => SetInflightFd(),
        VhostUserRequest.SetVringNum or VhostUserRequest.SetVringAddress or VhostUserRequest.SetVringBase or VhostUserRequest.GetVringBase
            or VhostUserRequest.SetVringEnable or VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall
            or VhostUserRequest.SetVringError
            => CarryForRing(request),
        _ => ReactorTask.FromResult(CarryAtOnce(request, _reader.Payload)),
    };

    /// <summary>Carries out a request that never waits.</summary>
    private string? CarryAtOnce(VhostUserRequest request, ReadOnlySpan<byte> payload) => request switch
    {
        VhostUserRequest.GetFeatures => Reply(OfferedFeatures),
        VhostUserRequest.SetFeatures => SetFeatures(ReadWord(payload)),
        // The connected front-end owns the device; giving it up without going means nothing (the document asks to ignore it).
        VhostUserRequest.SetOwner or VhostUserRequest.ResetOwner => null,
        VhostUserRequest.GetProtocolFeatures => Reply((ulong)OfferedProtocolFeatures),
        VhostUserRequest.SetProtocolFeatures => SetProtocolFeatures((ProtocolFeatures)ReadWord(payload)),
        VhostUserRequest.GetQueueNum => Reply((ulong)_rings.Length),
        VhostUserRequest.SetBackendRequestFd => SetBackendChannel(),
        VhostUserRequest.GetConfig => GetConfig(payload),
        VhostUserRequest.SetConfig => SetConfig(payload),
        VhostUserRequest.SetNetMtu => SetNetMtu(ReadWord(payload)),
        VhostUserRequest.GetStatus => Reply((ulong)_status),
        VhostUserRequest.GetMemorySlotsMax => Reply(GuestMemory.RegionsMax),
        // An eventfd that may report changes of the log to the front-end. It polls all the same: nothing is kept.
        VhostUserRequest.SetLogFd => null,
        _ => "a request that is not offered",
    };

    /// <summary>
    /// Acknowledges a request that wants it; a refusal that the front-end does not wait for ends the connection, or it would go unnoticed.
    /// </summary>
    /// <returns>Why the connection ends; null if it goes on.</returns>
    private string? Answer(string? refusal)
    {
        VhostUserHeader header = _reader.Header;
        bool hasReply = MessageShape.TryGet((VhostUserRequest)header.Request, out MessageShape shape) && shape.HasReply;
        bool acknowledges = header.NeedsReply && !hasReply && _protocolFeatures.HasFlag(ProtocolFeatures.ReplyAck);
        if (refusal is not null && !acknowledges) return $"{(VhostUserRequest)header.Request} refused: {refusal}";
        if (refusal is not null) _backend.WarnOnce($"{(VhostUserRequest)header.Request} refused: {refusal}");
        if (acknowledges) Reply(refusal is null ? 0UL : 1UL);
        return null;
    }

    private string? Reply(ulong word)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(BeginReply(sizeof(ulong)), word);
        return null;
    }

    private Span<byte> BeginReply(int payloadBytes, OwnedFd? fd = null) =>
        _writer.Begin(VhostUserHeader.ForReply(_reader.Header.Request, payloadBytes), fd);

    /// <summary>Closes the connection. The session's task lets go of the rest.</summary>
    /// <param name="why">What the front-end did; null if it just went.</param>
    private void End(string? why)
    {
        if (_hasEnded) return;
        _hasEnded = true;
        _complaint = why;
        RemoveFrom(_reactor);
        _wake.Set();
    }

    private void RetireAll()
    {
        if (_memory.Regions.Count > 0) _retired.Add(_memory);
        if (_dirtyLog is not null) _retired.Add(_dirtyLog);
        if (_inflight is not null) _retired.Add(_inflight);
    }

    private void Release()
    {
        _mapped.Dispose();
        foreach (Vring ring in _rings) ring.Dispose();
        _onEnded();
    }

    private static ulong ReadWord(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt64LittleEndian(payload);

    private static uint ReadHalf(ReadOnlySpan<byte> payload, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(payload[offset..]);
}
