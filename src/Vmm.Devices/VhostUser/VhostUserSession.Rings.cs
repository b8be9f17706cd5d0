using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <content>
/// Rings. A ring runs when it is enabled and has a size, addresses that lie in memory, and a kick; in whatever order the front-end gave them. It
/// stops when it is disabled or its base is asked for, and that is answered when nothing of it is in flight any more.
/// </content>
internal sealed partial class VhostUserSession
{
    private const ulong RingIndexMask = 0xff;
    private const ulong NoFdFlag = 0x100;

    /// <summary>What the device was activated with; null while it is not.</summary>
    private ulong? _activatedFeatures;

    private bool AnyRunning => _rings.Any(ring => ring.Queue is not null);

    private bool IsPacked => (DriverFeatures & VirtioFeatures.PackedRing) != 0;

    private string? CarryForRing(VhostUserRequest request, ReadOnlySpan<byte> payload)
    {
        bool carriesFd = request is VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringError;
        ulong index = carriesFd ? ReadWord(payload) & RingIndexMask : ReadHalf(payload, 0);
        if (index >= (ulong)_rings.Length) return "a ring the device does not have";
        if (carriesFd && ReadWord(payload) > (RingIndexMask | NoFdFlag)) return "flags that have no meaning";
        if (carriesFd && (ReadWord(payload) & NoFdFlag) != 0 != (_reader.Fds.Count == 0)) return "a descriptor that is said not to be there, or none that is said to be";
        Vring ring = _rings[index];
        uint number = ReadHalf(payload, sizeof(uint));
        return request switch
        {
            VhostUserRequest.SetVringNum => SetNum(ring, number),
            VhostUserRequest.SetVringBase => SetBase(ring, number),
            VhostUserRequest.GetVringBase => GetBase(ring),
            VhostUserRequest.SetVringEnable => SetEnable(ring, number),
            VhostUserRequest.SetVringAddress => SetAddresses(ring, payload),
            VhostUserRequest.SetVringKick => SetKick(ring),
            VhostUserRequest.SetVringCall => TakeEventFd(ring.ReplaceCall),
            _ => TakeEventFd(ring.ReplaceError),
        };
    }

    private string? SetNum(Vring ring, uint entries)
    {
        if (ring.Queue is not null) return "the size of a ring that runs";
        if (entries == 0 || entries > _device.Queues[ring.Index].SizeMax) return "a ring size the device does not have";
        ring.Size = (ushort)entries;
        return TryStart(ring);
    }

    private string? SetBase(Vring ring, uint number)
    {
        if (ring.Queue is not null) return "the base of a ring that runs";
        if (!IsPacked && number > ushort.MaxValue) return "a base beyond 16 bits";
        ring.AvailBase = (ushort)number;
        ring.UsedBase = IsPacked ? (ushort)(number >> 16) : null;
        return TryStart(ring);
    }

    private string? GetBase(Vring ring)
    {
        WhenStopped([ring], () =>
        {
            if (_hasEnded) return;
            // Stopped rings do not start again before they get a new kick.
            ring.ReplaceKick(null);
            uint number = IsPacked ? ring.AvailBase | ((uint)ring.UsedBase.GetValueOrDefault() << 16) : ring.AvailBase;
            Span<byte> reply = BeginReply(2 * sizeof(uint));
            BinaryPrimitives.WriteUInt32LittleEndian(reply, (uint)ring.Index);
            BinaryPrimitives.WriteUInt32LittleEndian(reply[sizeof(uint)..], number);
        });
        return null;
    }

    private string? SetEnable(Vring ring, uint number)
    {
        if (number > 1) return "neither enabled nor disabled";
        ring.IsEnabled = number == 1;
        if (ring.IsEnabled) return TryStart(ring);
        WhenStopped([ring], () => { });
        return null;
    }

    private string? SetAddresses(Vring ring, ReadOnlySpan<byte> payload)
    {
        const uint LogFlag = 1;
        if ((ReadHalf(payload, 4) & ~LogFlag) != 0) return "flags that have no meaning";
        VringAddresses addresses = new(
            Descriptors: BinaryPrimitives.ReadUInt64LittleEndian(payload[8..]),
            Used: BinaryPrimitives.ReadUInt64LittleEndian(payload[16..]),
            Available: BinaryPrimitives.ReadUInt64LittleEndian(payload[24..]));
        // A running ring gets its addresses again when its log is switched: writes to it are logged whenever any are.
        if (ring.Queue is not null) return addresses == ring.Addresses ? null : "the addresses of a ring that runs";
        if (_memory.Regions.Count > 0 && !TryTranslate(addresses, out _)) return "ring addresses outside of guest memory";
        ring.Addresses = addresses;
        return TryStart(ring);
    }

    private string? SetKick(Vring ring)
    {
        if (_reader.Fds.Count == 0) return "a ring without a kick, to be polled: that is not offered";
        if (!FdInspection.IsEventFd(_reader.Fds.Peek(0))) return "a kick that is no eventfd";
        EventFd kick = EventFd.Adopt(_reader.Fds.Take(0));
        WhenStopped([ring], () =>
        {
            ring.ReplaceKick(kick);
            Refuse(TryStart(ring));
        });
        return null;
    }

    private string? TakeEventFd(Action<UntrustedEventFd?> replace)
    {
        if (_reader.Fds.Count == 0)
        {
            replace(null);
            return null;
        }
        if (!UntrustedEventFd.TryAdopt(_reader.Fds.Peek(0), out UntrustedEventFd? fd)) return "a call or error descriptor that is no eventfd";
        _ = _reader.Fds.Take(0);
        replace(fd);
        return null;
    }

    private string? ResetDevice()
    {
        foreach (Vring ring in _rings)
        {
            ring.IsEnabled = false;
            ring.ReplaceKick(null);
        }
        WhenStopped(_rings, () =>
        {
            ResetDriver();
            _status = DeviceStatus.None;
        });
        return null;
    }

    private void ResetDriver()
    {
        if (_activatedFeatures is null) return;
        _activatedFeatures = null;
        _device.Reset();
    }

    /// <summary>Starts a ring if it has all it needs.</summary>
    /// <returns>Why it can't start though it has; null if it runs, or waits for something.</returns>
    private string? TryStart(Vring ring)
    {
        bool enabled = ring.IsEnabled || (_features & HasProtocolFeatures) == 0;
        if (_hasEnded || ring.Queue is not null || _features is null || !enabled || ring.Size == 0 || ring.Kick is null) return null;
        if (ring.Addresses is not { } addresses || !TryTranslate(addresses, out VringAddresses guest)) return null;
        QueueConfiguration configuration = new()
        {
            Index = ring.Index,
            Name = _device.Queues[ring.Index].Name,
            Size = ring.Size,
            SizeMax = _device.Queues[ring.Index].SizeMax,
            DescriptorTable = guest.Descriptors,
            DriverRing = guest.Available,
            DeviceRing = guest.Used,
            Features = DriverFeatures,
            MeasureLatency = _options.MeasureLatency,
            OnFault = _device.ReportGuestFault,
            Statistics = ring.Statistics,
        };
        if (Recover(ring, guest, ref configuration) is { } refusal) return refusal;
        configuration = configuration with { AvailBase = ring.AvailBase, UsedBase = ring.UsedBase };
        if (!VirtQueue.TryCreate(configuration, _memory, _interrupt, out VirtQueue? queue, out GuestFault fault)) return fault.Text;
        EventFd kick = ring.Kick.Duplicate();
        Activate(ring);
        ring.Queue = queue;
        OnRingThread(ring, reactor =>
        {
            try
            {
                _device.StartQueue(queue, kick, reactor);
            }
            catch (KernelException exception)
            {
                _remote.Post(_ => End(exception.Message));
            }
        });
        // Whoever served the ring before may have gone between the last used entry and its call.
        if (ring.AvailBase != (IsPacked ? PackedPosition.StartBits : 0)) ring.Call?.Signal();
        return null;
    }

    /// <summary>Tells the device of its driver with the first ring that starts.</summary>
    private void Activate(Vring first)
    {
        // No message says that the guest was restarted: other features, or a ring that does not go on where it stopped, do. A guest that was
        // only paused goes on with the same driver, and a device keeps what it knows of it.
        bool isNewDriver = !AnyRunning && (_activatedFeatures != DriverFeatures || first.AvailBase != first.StoppedAt);
        if (isNewDriver) ResetDriver();
        if (_activatedFeatures is not null) return;
        _activatedFeatures = DriverFeatures;
        _device.Activate(new DeviceActivation(DriverFeatures, _memory, _interrupt, _reactor, _remote));
    }

    /// <summary>Brings rings to rest, then does something; at once if none of them runs.</summary>
    private void WhenStopped(IReadOnlyList<Vring> rings, Action then)
    {
        int left = 0;
        foreach (Vring ring in rings)
        {
            if (ring.Queue is null) continue;
            left++;
            OpenStep();
            StopRing(ring, () =>
            {
                if (--left == 0) then();
                CloseLateStep();
            });
        }
        if (left == 0) then();
    }

    private void StopRing(Vring ring, Action then)
    {
        bool isStopping = ring.OnStopped is not null;
        ring.OnStopped += then;
        if (isStopping) return;
        OnRingThread(ring, reactor => _device.StopQueue(ring.Index, reactor, () => _remote.Post(_ => Stopped(ring))));
    }

    private void Stopped(Vring ring)
    {
        ring.AvailBase = ring.StoppedAt = ring.Queue!.AvailBase;
        ring.UsedBase = IsPacked ? ring.Queue.UsedBase : null;
        ring.Queue.Dispose();
        ring.Queue = null;
        Action then = ring.OnStopped!;
        ring.OnStopped = null;
        then();
    }

    private void OnRingThread(Vring ring, Action<IReactor> work)
    {
        if (ring.Remote.IsReactorThread) work(_reactor);
        else ring.Remote.Post(work);
    }

    /// <summary>Does something for every running ring on its thread, then something here.</summary>
    private void OnEveryRingThread(Action<Vring> work, Action then)
    {
        int left = 1;
        foreach (Vring ring in _rings)
        {
            if (ring.Queue is null) continue;
            if (ring.Remote.IsReactorThread)
            {
                work(ring);
                continue;
            }
            left++;
            OpenStep();
            ring.Remote.Post(_ =>
            {
                work(ring);
                _remote.Post(_ =>
                {
                    if (--left == 0) then();
                    CloseLateStep();
                });
            });
        }
        if (--left == 0) then();
    }

    private bool TryTranslate(in VringAddresses user, out VringAddresses guest)
    {
        bool found = _memory.TryTranslateUser(user.Descriptors, out ulong descriptors);
        found &= _memory.TryTranslateUser(user.Used, out ulong used);
        found &= _memory.TryTranslateUser(user.Available, out ulong available);
        guest = new VringAddresses(descriptors, used, available);
        return found;
    }
}
