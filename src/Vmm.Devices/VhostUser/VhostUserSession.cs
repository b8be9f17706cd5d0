using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// One front-end's connection: reads its requests one by one, answers each before it looks at the next, and turns them into the lifecycle
/// of a device. One task on the device's reactor. The front-end is not trusted: whatever it sends is carried out, refused with an
/// acknowledgement that says so, or ends the connection; it never ends the process nor holds a neighbour up.
/// </summary>
internal sealed class VhostUserSession : Subscriber
{
    /// <summary>Most requests of one turn: a front-end that floods its socket gets its neighbours' patience no longer than this.</summary>
    private const int RequestsPerTurnMax = 16;

    private readonly VhostUserBackend _backend;
    private readonly IReactor _reactor;
    private readonly Action _onEnded;
    private readonly Subscription<UnixSocket> _socket;
    private readonly VhostUserExchange _exchange = new();
    private readonly SlowCalls _slow;
    private readonly MappingBudget.Account _mapped;
    private readonly SharedMemory _memory;
    private readonly FrontEndFeatures _features;
    private readonly InflightKeeper _inflight;
    private readonly DriverMode _mode;
    private readonly ConfigRequests _config;
    private readonly VhostUserRings _rings;
    private readonly MemoryRequests _memoryRequests;
    private readonly SessionReports _reports;
    /// <summary>The socket can be read or written again, or the session is to end.</summary>
    private readonly TaskDoorbell _wake;
    private DeviceStatus _status;
    private string? _complaint;

    /// <param name="backend">Whose device is served.</param>
    /// <param name="socket">The connection; taken over.</param>
    /// <param name="reactor">The device's reactor, on its thread.</param>
    /// <param name="onEnded">Called once, when the front-end is gone, every ring is quiet and the device is reset.</param>
    /// <exception cref="KernelException">The host has no descriptor left for it. The connection stays the caller's.</exception>
    internal VhostUserSession(VhostUserBackend backend, UnixSocket socket, IReactor reactor, Action onEnded)
        : base($"{backend.Device.Name}/front-end")
    {
        _backend = backend;
        _reactor = reactor;
        _onEnded = onEnded;
        VirtioDevice device = backend.Device;
        device.Config.IsModeKnown = false;
        _wake = new TaskDoorbell(ReactorTasks.Of(reactor));
        EventFd lost = new();
        _mapped = backend.Options.Mappings.Open(lost);
        _slow = new SlowCalls(backend.Options, _exchange);
        _memory = new SharedMemory(backend, _exchange, _slow, _mapped);
        _features = new FrontEndFeatures(backend, _exchange);
        _inflight = new InflightKeeper(device.Queues.Count, _exchange, _slow, _memory, _features);
        _mode = new DriverMode(device.Config, _inflight, _features);
        _config = new ConfigRequests(device, _exchange, _mode, reactor, this);
        _reports = new SessionReports(backend, socket, reactor, _memory, _features, _inflight);
        _rings = new VhostUserRings(
            backend, reactor, _exchange, _memory, _features, _inflight, _mode, _reports, _config.Announce, OnNeedsReset, End);
        _memoryRequests = new MemoryRequests(_exchange, _slow, _memory, _features, _rings);
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

    /// <inheritdoc cref="SessionReports.Inspect"/>
    internal void Inspect(InspectNode node) => _reports.Inspect(node);

    /// <summary>Begins to serve the front-end.</summary>
    internal void Start()
    {
        _reports.AnnounceFrontEnd();
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
            if (!reactorEnds) _reports.AnnounceEnd(isClean: _complaint is null);
            if (_complaint is not null) _backend.WarnOnce($"connection ended: {_complaint}", DeviceEvents.FrontEndLeft);
            _exchange.Dispose();
            await _rings.Reset();
            try
            {
                _memory.Retire();
                _slow.Retire(_inflight.Region);
                // A reactor that ends runs nothing that comes back to it.
                if (reactorEnds) _slow.Drop();
                else await _slow.LetGo();
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
                _wake.Ring();
                await _wake;
                left = RequestsPerTurnMax;
            }
            ReadProgress progress = _exchange.Advance(_socket.Fd);
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
                    return progress == ReadProgress.Broken ? _exchange.Complaint : null;
            }
        }
    }

    /// <summary>Carries a request out, and answers it.</summary>
    /// <returns>Why the connection has to end; null if it goes on.</returns>
    private async ReactorTask<string?> Serve()
    {
        string? refusal = _exchange.Check();
        try
        {
            refusal ??= await Carry(_exchange.Request);
        }
        catch (KernelException exception)
        {
            // The host has no more descriptors or memory for this front-end.
            refusal = exception.Message;
        }
        // Now, not with the next message: that may never come.
        await _slow.LetGo();
        if (_exchange.HasEnded) return null;
        string? complaint = refusal is null ? null : $"{_exchange.Request} refused: {refusal}";
        if (!_exchange.Acknowledge(refusal)) return complaint;
        if (complaint is not null) _backend.WarnOnce(complaint);
        return null;
    }

    /// <summary>Carries a request out.</summary>
    /// <returns>Why it is refused; null if it was done.</returns>
    private ReactorTask<string?> Carry(VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetStatus => SetStatus(_exchange.Word()),
        VhostUserRequest.ResetDevice => ResetDevice(),
        VhostUserRequest.SetMemoryTable => _memoryRequests.SetTable(),
        VhostUserRequest.AddMemoryRegion => _memoryRequests.AddRegion(),
        VhostUserRequest.RemoveMemoryRegion => _memoryRequests.RemoveRegion(),
        VhostUserRequest.SetLogBase => _memoryRequests.SetLog(),
        VhostUserRequest.GetInflightFd => _inflight.Make(),
        VhostUserRequest.SetInflightFd => SetInflight(),
        VhostUserRequest.SetVringNum or VhostUserRequest.SetVringAddress or VhostUserRequest.SetVringBase or VhostUserRequest.GetVringBase
            or VhostUserRequest.SetVringEnable or VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall
            or VhostUserRequest.SetVringError
            => _rings.Carry(request),
        _ => ReactorTask.FromResult(CarryAtOnce(request)),
    };

    /// <summary>Carries out a request that never waits.</summary>
    private string? CarryAtOnce(VhostUserRequest request) => request switch
    {
        VhostUserRequest.GetFeatures => _exchange.Reply(_features.Offered),
        VhostUserRequest.SetFeatures => SetFeatures(),
        // The connected front-end owns the device; giving it up without going means nothing (the document asks to ignore it).
        VhostUserRequest.SetOwner or VhostUserRequest.ResetOwner => null,
        VhostUserRequest.GetProtocolFeatures => _exchange.Reply((ulong)_features.OfferedProtocol),
        VhostUserRequest.SetProtocolFeatures => _features.AcceptProtocol((ProtocolFeatures)_exchange.Word()),
        VhostUserRequest.GetQueueNum => _exchange.Reply((ulong)_backend.Device.Queues.Count),
        VhostUserRequest.SetBackendRequestFd => _config.SetBackendChannel(),
        VhostUserRequest.GetConfig => _config.Get(),
        VhostUserRequest.SetConfig => _config.Set(),
        VhostUserRequest.SetNetMtu => _config.SetMtu(),
        VhostUserRequest.GetStatus => _exchange.Reply((ulong)_status),
        VhostUserRequest.GetMemorySlotsMax => _exchange.Reply(GuestMemory.RegionsMax),
        // An eventfd that may report changes of the log to the front-end. It polls all the same: nothing is kept.
        VhostUserRequest.SetLogFd => null,
        _ => "a request that is not offered",
    };

    private string? SetFeatures()
    {
        string? refusal = _features.Accept(_exchange.Word(), _rings.AnyRuns);
        if (refusal is null) _memory.SwitchLog(_features.LogsWrites);
        return refusal;
    }

    private async ReactorTask<string?> SetInflight()
    {
        string? refusal = await _inflight.Adopt(_rings.AnyRuns);
        if (refusal is null) _mode.TakeOver();
        return refusal;
    }

    private async ReactorTask<string?> SetStatus(ulong status)
    {
        if (status > byte.MaxValue) return "a status of more than 8 bits";
        if (status == 0) return await ResetDevice();
        _status = (DeviceStatus)status | (_status & DeviceStatus.NeedsReset);
        return null;
    }

    private async ReactorTask<string?> ResetDevice()
    {
        await _rings.ResetDevice();
        _status = DeviceStatus.None;
        return null;
    }

    private void OnNeedsReset()
    {
        if (_exchange.HasEnded) return;
        _status |= DeviceStatus.NeedsReset;
        _rings.SignalErrors();
        _config.Announce();
    }

    /// <summary>Closes the connection. The session's task lets go of the rest.</summary>
    /// <param name="why">What the front-end did; null if it just went.</param>
    private void End(string? why)
    {
        if (_exchange.HasEnded) return;
        _exchange.HasEnded = true;
        _complaint = why;
        RemoveFrom(_reactor);
        _wake.Set();
    }

    private void Release()
    {
        _mapped.Dispose();
        _rings.Dispose();
        _onEnded();
    }
}
