using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <content>
/// Rings. A ring runs when it is enabled and has a size, addresses that lie in memory, and a kick; in whatever order the front-end gave
/// them. It stops when it is disabled or its base is asked for, and that is answered when nothing of it is in flight any more.
/// </content>
internal sealed partial class VhostUserSession
{
    private const ulong RingIndexMask = 0xff;
    private const ulong NoFdFlag = 0x100;

    private bool AnyRunning => _runner.AnyRuns;

    private bool IsPacked => (DriverFeatures & VirtioFeatures.PackedRing) != 0;

    private async ReactorTask<string?> CarryForRing(VhostUserRequest request)
    {
        ReadOnlySpan<byte> payload = _reader.Payload;
        bool carriesFd = request is VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringError;
        ulong index = carriesFd ? ReadWord(payload) & RingIndexMask : ReadHalf(payload, 0);
        if (index >= (ulong)_rings.Length) return "a ring the device does not have";
        if (carriesFd && ReadWord(payload) > (RingIndexMask | NoFdFlag)) return "flags that have no meaning";
        if (carriesFd && (ReadWord(payload) & NoFdFlag) != 0 != (_reader.Fds.Count == 0))
            return "a descriptor that is said not to be there, or none that is said to be";
        Vring ring = _rings[index];
        uint number = ReadHalf(payload, sizeof(uint));
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
        if (!IsPacked && number > ushort.MaxValue) return "a base beyond 16 bits";
        ring.AvailBase = (ushort)number;
        // DPDK sends a packed ring's upper half as 0, where the document asks for the used position: then nothing is in flight, and it is
        // that of the lower half.
        ring.UsedBase = IsPacked && number > ushort.MaxValue ? (ushort)(number >> 16) : null;
        return await TryStart(ring);
    }

    private async ReactorTask<string?> GetBase(Vring ring)
    {
        await StopRings([ring], QuiesceReason.Pause);
        if (_hasEnded) return null;
        // Stopped rings do not start again before they get a new kick.
        ring.ReplaceKick(null);
        uint number = IsPacked ? ring.AvailBase | ((uint)ring.UsedBase.GetValueOrDefault() << 16) : ring.AvailBase;
        Span<byte> reply = BeginReply(2 * sizeof(uint));
        BinaryPrimitives.WriteUInt32LittleEndian(reply, (uint)ring.Index);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[sizeof(uint)..], number);
        return null;
    }

    private async ReactorTask<string?> SetEnable(Vring ring, uint number)
    {
        if (number > 1) return "neither enabled nor disabled";
        ring.IsEnabled = number == 1;
        if (ring.IsEnabled) return await TryStart(ring);
        await StopRings([ring], QuiesceReason.Disable);
        return null;
    }

    private async ReactorTask<string?> SetAddresses(Vring ring)
    {
        ReadOnlySpan<byte> payload = _reader.Payload;
        const uint LogFlag = 1;
        if ((ReadHalf(payload, 4) & ~LogFlag) != 0) return "flags that have no meaning";
        VringAddresses addresses = new(
            Descriptors: BinaryPrimitives.ReadUInt64LittleEndian(payload[8..]),
            Used: BinaryPrimitives.ReadUInt64LittleEndian(payload[16..]),
            Available: BinaryPrimitives.ReadUInt64LittleEndian(payload[24..]));
        // A running ring gets its addresses again when its log is switched: writes to it are logged whenever any are.
        if (ring.IsBusy) return addresses == ring.Addresses ? null : "the addresses of a ring that runs";
        if (_memory.Regions.Count > 0 && !TryTranslate(addresses, out _)) return "ring addresses outside of guest memory";
        ring.Addresses = addresses;
        return await TryStart(ring);
    }

    private async ReactorTask<string?> SetKick(Vring ring)
    {
        if (_reader.Fds.Count == 0) return "a ring without a kick, to be polled: that is not offered";
        if (!FdInspection.IsEventFd(_reader.Fds.Peek(0))) return "a kick that is no eventfd";
        EventFd kick = EventFd.Adopt(_reader.Fds.Take(0));
        await StopRings([ring], QuiesceReason.Pause);
        ring.ReplaceKick(kick);
        WatchForMemory();
        return await TryStart(ring);
    }

    private string? TakeSignal(Action<UntrustedSignal?> replace)
    {
        if (_reader.Fds.Count == 0)
        {
            replace(null);
            return null;
        }
        if (!UntrustedSignal.TryAdopt(_reader.Fds.Peek(0), out UntrustedSignal? fd))
            return "a call or error descriptor that is neither an eventfd nor a Unix stream socket";
        _ = _reader.Fds.Take(0);
        replace(fd);
        return null;
    }

    private async ReactorTask<string?> ResetDevice()
    {
        foreach (Vring ring in _rings)
        {
            ring.IsEnabled = false;
            ring.ReplaceKick(null);
        }
        await _runner.ResetAsync();
        foreach (Vring ring in _rings) Stopped(ring);
        _status = DeviceStatus.None;
        return null;
    }

    /// <summary>Starts a ring if it has all it needs.</summary>
    /// <returns>Why it can't start though it has; null if it runs, or waits for something.</returns>
    private async ReactorTask<string?> TryStart(Vring ring)
    {
        bool enabled = ring.IsEnabled || (_features & HasProtocolFeatures) == 0;
        if (_hasEnded || ring.IsBusy || _features is null || !enabled || ring.Size == 0 || ring.Kick is null) return null;
        if (ring.Addresses is not { } addresses || !TryTranslate(addresses, out VringAddresses guest)) return null;
        QueueConfiguration configuration = new()
        {
            Index = ring.Index,
            Size = ring.Size,
            DescriptorTable = guest.Descriptors,
            DriverRing = guest.Available,
            DeviceRing = guest.Used,
        };
        if (IsFresh(ring, guest)) ring.AvailBase = PackedPosition.StartBits;
        if (Recover(ring, guest, ref configuration) is { } refusal) return refusal;
        configuration = configuration with { AvailBase = ring.AvailBase, UsedBase = ring.UsedBase };
        bool isNew = IsNewDriver(ring);
        if (isNew)
        {
            await _runner.ResetAsync();
            if (_hasEnded) return null;
            SettleModeOf(ring);
            _runner.Begin(new DriverSession(DriverFeatures, _memory, _interrupt, _reactor, _remote));
        }
        ring.IsBusy = _runner.TryStart(configuration, out GuestFault fault);
        if (!ring.IsBusy) return fault.Text;
        if (isNew) AnnounceDriver(ring);
        // Another process may have served the ring before, and gone between the last used entry and its call.
        if (ring.AvailBase != (IsPacked ? PackedPosition.StartBits : 0)) ring.Call?.Signal();
        return null;
    }

    /// <summary>
    /// Whether a packed ring whose base was given as 0 is a fresh one. Its base would be 0x80008000, but User Mode Linux sends 0 for every
    /// ring, also when another driver comes to one that ran before. A ring that went round an odd number of times is at 0 too: then a
    /// descriptor of the lap before has its USED flag set by the device, and one that is available since has it set by the driver.
    /// </summary>
    private bool IsFresh(Vring ring, in VringAddresses guest)
    {
        if (!IsPacked || ring is not { AvailBase: 0, UsedBase: null } || _inflight is not null) return false;
        Span<byte> flags = stackalloc byte[sizeof(ushort)];
        for (int i = 0; i < ring.Size; i++)
        {
            if (!_memory.TryRead(guest.Descriptors + new PackedPosition((ushort)i, Wrap: true).FlagsOffset, flags)
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
        !AnyRunning && (_runner.Driver?.Features != DriverFeatures || first.AvailBase != first.StoppedAt.GetValueOrDefault());

    /// <summary>Brings rings to rest; at once if none of them runs.</summary>
    private async ReactorTask StopRings(IEnumerable<Vring> rings, QuiesceReason reason)
    {
        Vring[] busy = [.. rings.Where(ring => ring.IsBusy)];
        await _runner.StopAsync(busy.Select(ring => ring.Index), reason);
        foreach (Vring ring in busy) Stopped(ring);
    }

    private void Stopped(Vring ring)
    {
        if (!ring.IsBusy || _runner.PositionOf(ring.Index) is not { } position) return;
        ring.IsBusy = false;
        ring.AvailBase = position.AvailBase;
        ring.StoppedAt = position.AvailBase;
        ring.UsedBase = IsPacked ? position.UsedBase : null;
    }

    /// <summary>The host has no descriptor or memory left for a ring. On the ring's thread.</summary>
    private void HostRefused(KernelException refused) => _remote.TryPost(new EndCall(this, refused.Message));

    private sealed class EndCall(VhostUserSession session, string why) : RemoteCall
    {
        protected override void Run(IReactor reactor) => session.End(why);
    }

    private bool TryTranslate(in VringAddresses user, out VringAddresses guest)
    {
        bool found = TryTranslate(user.Descriptors, out ulong descriptors);
        found &= TryTranslate(user.Used, out ulong used);
        found &= TryTranslate(user.Available, out ulong available);
        guest = new VringAddresses(descriptors, used, available);
        return found;
    }

    private bool TryTranslate(ulong userAddress, out ulong guestAddress)
    {
        SharedRegion shared = _shared.Find(each => each.Contains(userAddress));
        guestAddress = shared.Region is null ? 0 : shared.Region.GuestAddress + (userAddress - shared.UserAddress);
        return shared.Region is not null;
    }
}
