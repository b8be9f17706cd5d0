using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// The rings of a session, and the life of its device. A ring runs when it is enabled and has a size, addresses that lie in memory, and a
/// kick; in whatever order the front-end gave them. It stops when it is disabled or its base is asked for, and that is answered when
/// nothing of it is in flight any more.
/// </summary>
internal sealed class VhostUserRings : IDisposable
{
    private const ulong RingIndexMask = 0xff;
    private const ulong NoFdFlag = 0x100;

    private readonly IReactor _reactor;
    private readonly VhostUserExchange _exchange;
    private readonly SharedMemory _memory;
    private readonly FrontEndFeatures _features;
    private readonly InflightKeeper _inflight;
    private readonly DriverMode _mode;
    private readonly SessionReports _reports;
    private readonly Action<string?> _end;
    private readonly Vring[] _rings;
    private readonly DeviceRunner _runner;
    private readonly RemoteEndpoint _remote;
    private readonly VhostUserInterrupt _interrupt;

    // The two calls of the device, and the end of the session, are made on the reactor.
    internal VhostUserRings(VhostUserBackend backend, IReactor reactor, VhostUserExchange exchange, SharedMemory memory,
        FrontEndFeatures features, InflightKeeper inflight, DriverMode mode, SessionReports reports,
        Action onConfigChanged, Action onNeedsReset, Action<string?> end)
    {
        (_exchange, _memory, _features, _inflight, _mode, _reports) = (exchange, memory, features, inflight, mode, reports);
        (_reactor, _remote, _end) = (reactor, backend.Remote, end);
        _rings = [.. backend.Device.Queues.Select((_, index) => new Vring(index))];
        _runner = new DeviceRunner(
            backend.Device, _remote, backend.QueueReactors, queue => _rings[queue].Kick!.Duplicate(), HostRefused);
        _interrupt = new VhostUserInterrupt(_rings, _remote, onConfigChanged, onNeedsReset);
    }

    internal bool AnyRuns => _runner.AnyRuns;

    /// <summary>Carries out a request for one ring.</summary>
    internal async ReactorTask<string?> Carry(VhostUserRequest request)
    {
        bool carriesFd = request is VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringError;
        ulong index = carriesFd ? _exchange.Word() & RingIndexMask : _exchange.Half(0);
        if (index >= (ulong)_rings.Length) return "a ring the device does not have";
        if (carriesFd && _exchange.Word() > (RingIndexMask | NoFdFlag)) return "flags that have no meaning";
        if (carriesFd && (_exchange.Word() & NoFdFlag) != 0 != (_exchange.Fds.Count == 0))
            return "a descriptor that is said not to be there, or none that is said to be";
        Vring ring = _rings[index];
        uint number = _exchange.Half(sizeof(uint));
        return request switch
        {
            VhostUserRequest.SetVringNum => await SetNum(ring, number),
            VhostUserRequest.SetVringBase => await SetBase(ring, number),
            VhostUserRequest.GetVringBase => await GetBase(ring),
            VhostUserRequest.SetVringEnable => await SetEnable(ring, number),
            VhostUserRequest.SetVringAddress => await SetAddresses(ring),
            VhostUserRequest.SetVringKick => await SetKick(ring),
            VhostUserRequest.SetVringCall => TakeSignal(ring.ReplaceCall),
            _ => TakeSignal(ring.ReplaceError),
        };
    }

    private async ReactorTask<string?> SetNum(Vring ring, uint entries)
    {
        if (ring.IsBusy) return "the size of a ring that runs";
        // No message reports the device's own bound to a front-end, so that bound does not count here: what the ring format allows does.
        // Whether a split ring's size is a power of two is known when the ring starts, after the features are.
        if (entries is 0 or > VirtQueue.SizeLimit) return $"a ring size that is 0 or more than {VirtQueue.SizeLimit}";
        ring.Size = (ushort)entries;
        return await TryStart(ring);
    }

    private async ReactorTask<string?> SetBase(Vring ring, uint number)
    {
        if (ring.IsBusy) return "the base of a ring that runs";
        if (!_features.IsPacked && number > ushort.MaxValue) return "a base beyond 16 bits";
        ring.AvailBase = (ushort)number;
        // DPDK sends a packed ring's upper half as 0, where the document asks for the used position: then nothing is in flight, and it is
        // that of the lower half.
        ring.UsedBase = _features.IsPacked && number > ushort.MaxValue ? (ushort)(number >> 16) : null;
        return await TryStart(ring);
    }

    private async ReactorTask<string?> GetBase(Vring ring)
    {
        await Stop(each => each == ring, QuiesceReason.Pause);
        if (_exchange.HasEnded) return null;
        // Stopped rings do not start again before they get a new kick.
        ring.ReplaceKick(null);
        uint number = _features.IsPacked ? ring.AvailBase | ((uint)ring.UsedBase.GetValueOrDefault() << 16) : ring.AvailBase;
        Span<byte> reply = _exchange.BeginReply(2 * sizeof(uint));
        BinaryPrimitives.WriteUInt32LittleEndian(reply, (uint)ring.Index);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[sizeof(uint)..], number);
        return null;
    }

    private async ReactorTask<string?> SetEnable(Vring ring, uint number)
    {
        if (number > 1) return "neither enabled nor disabled";
        ring.IsEnabled = number == 1;
        if (ring.IsEnabled) return await TryStart(ring);
        await Stop(each => each == ring, QuiesceReason.Disable);
        return null;
    }

    private async ReactorTask<string?> SetAddresses(Vring ring)
    {
        const uint LogFlag = 1;
        if ((_exchange.Half(4) & ~LogFlag) != 0) return "flags that have no meaning";
        VringAddresses addresses = new(
            Descriptors: _exchange.Word(8),
            Used: _exchange.Word(16),
            Available: _exchange.Word(24));
        // A running ring gets its addresses again when its log is switched: writes to it are logged whenever any are.
        if (ring.IsBusy) return addresses == ring.Addresses ? null : "the addresses of a ring that runs";
        if (!_memory.IsEmpty && !_memory.TryTranslate(addresses, out _)) return "ring addresses outside of guest memory";
        ring.Addresses = addresses;
        return await TryStart(ring);
    }

    private async ReactorTask<string?> SetKick(Vring ring)
    {
        if (_exchange.Fds.Count == 0) return "a ring without a kick, to be polled: that is not offered";
        if (!FdInspection.IsEventFd(_exchange.Fds.Peek(0))) return "a kick that is no eventfd";
        EventFd kick = EventFd.Adopt(_exchange.Fds.Take(0));
        await Stop(each => each == ring, QuiesceReason.Pause);
        ring.ReplaceKick(kick);
        _reports.WatchForMemory();
        return await TryStart(ring);
    }

    private string? TakeSignal(Action<UntrustedSignal?> replace)
    {
        if (_exchange.Fds.Count == 0)
        {
            replace(null);
            return null;
        }
        if (!UntrustedSignal.TryAdopt(_exchange.Fds.Peek(0), out UntrustedSignal? fd))
            return "a call or error descriptor that is neither an eventfd nor a Unix stream socket";
        _ = _exchange.Fds.Take(0);
        replace(fd);
        return null;
    }

    /// <summary>Resets the device, and completes when every ring is quiet.</summary>
    internal async ReactorTask ResetDevice()
    {
        foreach (Vring ring in _rings)
        {
            ring.IsEnabled = false;
            ring.ReplaceKick(null);
        }
        await _runner.ResetAsync();
        foreach (Vring ring in _rings) Stopped(ring);
    }

    /// <summary>Starts every ring that has all it needs.</summary>
    /// <returns>Why one of them can't start; null if there is none.</returns>
    internal async ReactorTask<string?> StartAll()
    {
        string? refusal = null;
        foreach (Vring ring in _rings)
        {
            string? refused = await TryStart(ring);
            refusal ??= refused;
        }
        return refusal;
    }

    /// <inheritdoc cref="DeviceRunner.VisitAsync"/>
    internal ReactorTask Visit(Action<VirtQueue> visit) => _runner.VisitAsync(visit);

    /// <summary>The session ends: completes when every ring is quiet and the device is reset.</summary>
    internal ReactorTask Reset() => _runner.ResetAsync();

    internal void SignalErrors()
    {
        foreach (Vring ring in _rings) ring.Error?.Signal();
    }

    public void Dispose()
    {
        foreach (Vring ring in _rings) ring.Dispose();
    }

    /// <summary>Starts a ring if it has all it needs.</summary>
    /// <returns>Why it can't start though it has; null if it runs, or waits for something.</returns>
    private async ReactorTask<string?> TryStart(Vring ring)
    {
        bool enabled = ring.IsEnabled || !_features.EnableRings;
        if (_exchange.HasEnded || ring.IsBusy || !_features.AreSettled || !enabled || ring.Size == 0 || ring.Kick is null) return null;
        if (ring.Addresses is not { } addresses || !_memory.TryTranslate(addresses, out VringAddresses guest)) return null;
        QueueConfiguration configuration = new()
        {
            Index = ring.Index,
            Size = ring.Size,
            DescriptorTable = guest.Descriptors,
            DriverRing = guest.Available,
            DeviceRing = guest.Used,
        };
        if (IsFresh(ring, guest)) ring.AvailBase = PackedPosition.StartBits;
        if (_inflight.Recover(ring, guest, ref configuration) is { } refusal) return refusal;
        configuration = configuration with { AvailBase = ring.AvailBase, UsedBase = ring.UsedBase };
        bool isNew = IsNewDriver(ring);
        if (isNew)
        {
            await _runner.ResetAsync();
            if (_exchange.HasEnded) return null;
            _mode.SettleWith(ring);
            _runner.Begin(new DriverSession(_features.OfDriver, _memory.Guest, _interrupt, _reactor, _remote));
        }
        ring.IsBusy = _runner.TryStart(configuration, out GuestFault fault);
        if (!ring.IsBusy) return fault.Text;
        if (isNew) _reports.AnnounceDriver(ring);
        // Another process may have served the ring before, and gone between the last used entry and its call.
        if (ring.AvailBase != (_features.IsPacked ? PackedPosition.StartBits : 0)) ring.Call?.Signal();
        return null;
    }

    /// <summary>
    /// Whether a packed ring whose base was given as 0 is a fresh one. Its base would be 0x80008000, but User Mode Linux sends 0 for every
    /// ring, also when another driver comes to one that ran before. A ring that went round an odd number of times is at 0 too: then a
    /// descriptor of the lap before has its USED flag set by the device, and one that is available since has it set by the driver.
    /// </summary>
    private bool IsFresh(Vring ring, in VringAddresses guest)
    {
        if (!_features.IsPacked || ring is not { AvailBase: 0, UsedBase: null } || _inflight.Region is not null) return false;
        Span<byte> flags = stackalloc byte[sizeof(ushort)];
        for (int i = 0; i < ring.Size; i++)
        {
            if (!_memory.Guest.TryRead(guest.Descriptors + new PackedPosition((ushort)i, wrap: true).FlagsOffset, flags)
                || (BinaryPrimitives.ReadUInt16LittleEndian(flags) & PackedPosition.FlagUsed) != 0) return false;
        }
        return true;
    }

    /// <summary>
    /// Whether the ring that starts first is another driver's. No message says that the guest was restarted: other features, or a ring that
    /// does not go on where it stopped, do. A guest that was only paused goes on with the same driver, and the device keeps what it knows
    /// of it.
    /// </summary>
    private bool IsNewDriver(Vring first) =>
        !AnyRuns && (_runner.Driver?.Features != _features.OfDriver || first.AvailBase != first.StoppedAt.GetValueOrDefault());

    /// <summary>Brings rings to rest; at once if none of them runs.</summary>
    internal async ReactorTask Stop(Func<Vring, bool> which, QuiesceReason reason)
    {
        Vring[] busy = [.. _rings.Where(ring => ring.IsBusy && which(ring))];
        await _runner.StopAsync(busy.Select(ring => ring.Index), reason);
        foreach (Vring ring in busy) Stopped(ring);
    }

    private void Stopped(Vring ring)
    {
        if (!ring.IsBusy || _runner.PositionOf(ring.Index) is not { } position) return;
        ring.IsBusy = false;
        ring.AvailBase = position.AvailBase;
        ring.StoppedAt = position.AvailBase;
        ring.UsedBase = _features.IsPacked ? position.UsedBase : null;
    }

    /// <summary>The host has no descriptor or memory left for a ring. On the ring's thread.</summary>
    private void HostRefused(KernelException refused) => _remote.TryPost(new EndCall(_end, refused.Message));

    private sealed class EndCall(Action<string?> end, string why) : RemoteCall
    {
        protected override void Run(IReactor reactor) => end(why);
    }
}
