using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <content>
/// In-flight logs: the front-end keeps the memory in which we note what we have taken, and gives it to the next back-end of the device.
/// </content>
internal sealed partial class VhostUserSession
{
    private const ulong UsedIndexOffset = 2;

    private InflightRegion? _inflight;
    private bool _inflightIsPacked;

    private async ReactorTask<string?> GetInflightFd()
    {
        InflightGeometry asked = InflightGeometry.Read(_reader.Payload);
        if (asked.Check(_rings.Length) is { } refusal) return refusal;
        InflightRegion fresh = await Beside(() => InflightRegion.Create(asked.Queues, asked.QueueSize, IsPacked));
        // Not in use before the front-end hands it in: it may keep what it has.
        _retired.Add(fresh);
        _freshInflight = MemoryFile.Of(fresh.File.Number);
        fresh.Geometry.Write(BeginReply(_reader.Payload.Length, fresh.File.Duplicate()));
        return null;
    }

    private async ReactorTask<string?> SetInflightFd()
    {
        InflightGeometry geometry = InflightGeometry.Read(_reader.Payload);
        if (AnyRunning) return "other in-flight logs while rings run";
        if ((geometry.Check(_rings.Length) ?? geometry.CheckPlace(IsPacked)) is { } refusal) return refusal;
        RegionDescription asked = new(0, geometry.BytesToMap(IsPacked), geometry.Offset);
        (string? unmapped, GuestRegion? region) = await Beside(() => Map(asked, 0, []));
        if (region is null) return unmapped;
        if (_inflight is not null) _retired.Add(_inflight);
        _inflight = InflightRegion.Adopt(region, geometry, IsPacked);
        _retired.Remove(region);
        _inflightIsPacked = IsPacked;
        TakeModeOver();
        return null;
    }

    /// <summary>Finds what the process before us had taken of a ring that is about to start, and sets its base accordingly.</summary>
    /// <returns>Why it can't start; else null, and what the queue is to know.</returns>
    private string? Recover(Vring ring, in VringAddresses guest, ref QueueConfiguration configuration)
    {
        if (_inflight is null) return null;
        if (_inflightIsPacked != IsPacked) return "in-flight logs for the other kind of ring";
        if (_inflight.Geometry.QueueSize < ring.Size) return "a ring larger than its in-flight log";
        return IsPacked ? RecoverPacked(ring, guest.Descriptors, ref configuration) : RecoverSplit(ring, guest.Used, ref configuration);
    }

    private string? RecoverSplit(Vring ring, ulong usedRing, ref QueueConfiguration configuration)
    {
        if (!_inflight!.TryGetLog(ring.Index, out InflightLog? log)) return null;
        Span<byte> index = stackalloc byte[sizeof(ushort)];
        if (!_memory.TryRead(usedRing + UsedIndexOffset, index)) return "a used ring outside of guest memory";
        ushort usedIndex = BinaryPrimitives.ReadUInt16LittleEndian(index);
        IReadOnlyCollection<ushort> retaken = log.Recover(usedIndex);
        if (retaken.Count > ring.Size || retaken.Any(head => head >= ring.Size))
            return "an in-flight log with descriptors the ring does not have";
        if (retaken.Count > 0)
        {
            ring.AvailBase = (ushort)(usedIndex + retaken.Count);
            ring.UsedBase = usedIndex;
        }
        configuration = configuration with { Journal = log };
        return null;
    }

    private string? RecoverPacked(Vring ring, ulong table, ref QueueConfiguration configuration)
    {
        if (!_inflight!.TryGetLog(ring.Index, out PackedInflightLog? log)) return null;
        bool isThere = true;
        ushort FlagsAt(PackedPosition position)
        {
            Span<byte> flags = stackalloc byte[sizeof(ushort)];
            isThere = _memory.TryRead(table + position.FlagsOffset, flags);
            return BinaryPrimitives.ReadUInt16LittleEndian(flags);
        }
        PackedPosition start = PackedPosition.FromBits(ring.UsedBase ?? ring.AvailBase);
        if (start.Index >= ring.Size) return "a base the ring does not have";
        // A packed ring has no index in memory: where it was given back to is in the log alone.
        bool isRight = log.TryRecover(start, ring.Size, FlagsAt, out PackedPosition used, out PackedPosition available);
        if (!isThere) return "a ring outside of guest memory";
        if (!isRight) return "an in-flight log with descriptors the ring does not have";
        ring.AvailBase = available.Bits;
        ring.UsedBase = used.Bits;
        configuration = configuration with { Journal = log };
        return null;
    }
}
