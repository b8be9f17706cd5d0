using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// In-flight logs: the front-end keeps the memory in which we note what we have taken, and gives it to the next back-end of the device.
/// </summary>
internal sealed class InflightKeeper(
    int ringCount, VhostUserExchange exchange, SlowCalls slow, SharedMemory memory, FrontEndFeatures features)
{
    private const ulong UsedIndexOffset = 2;

    private bool _isPacked;

    /// <summary>The region that was made last in this session: no driver was ever served with it.</summary>
    private MemoryFile? _fresh;

    /// <summary>What the front-end handed in; null if it did not.</summary>
    internal InflightRegion? Region { get; private set; }

    internal bool IsFresh => Region is not null && Region.Source == _fresh;

    /// <summary>Makes empty logs for the front-end to keep.</summary>
    internal async ReactorTask<string?> Make()
    {
        InflightGeometry asked = InflightGeometry.Read(exchange.Payload);
        if (asked.Check(ringCount) is { } refusal) return refusal;
        InflightRegion fresh = await slow.Beside(() => InflightRegion.Create(asked.Queues, asked.QueueSize, features.IsPacked));
        // Not in use before the front-end hands it in: it may keep what it has.
        slow.Retire(fresh);
        _fresh = MemoryFile.Of(fresh.File.Number);
        fresh.Geometry.Write(exchange.BeginReply(exchange.Payload.Length, fresh.File.Duplicate()));
        return null;
    }

    /// <summary>Takes the logs that the front-end kept.</summary>
    internal async ReactorTask<string?> Adopt(bool anyRuns)
    {
        InflightGeometry geometry = InflightGeometry.Read(exchange.Payload);
        if (anyRuns) return "other in-flight logs while rings run";
        if ((geometry.Check(ringCount) ?? geometry.CheckPlace(features.IsPacked)) is { } refusal) return refusal;
        RegionDescription asked = new(0, geometry.BytesToMap(features.IsPacked), geometry.Offset);
        (string? unmapped, GuestRegion? region) = await slow.Beside(() => memory.Map(asked, 0, []));
        if (region is null) return unmapped;
        slow.Retire(Region);
        Region = InflightRegion.Adopt(region, geometry, features.IsPacked);
        slow.Keep(region);
        _isPacked = features.IsPacked;
        return null;
    }

    /// <summary>Finds what the process before us had taken of a ring that is about to start, and sets its base accordingly.</summary>
    /// <returns>Why it can't start; else null, and what the queue is to know.</returns>
    internal string? Recover(Vring ring, in VringAddresses guest, ref QueueConfiguration configuration)
    {
        if (Region is null) return null;
        if (_isPacked != features.IsPacked) return "in-flight logs for the other kind of ring";
        if (Region.Geometry.QueueSize < ring.Size) return "a ring larger than its in-flight log";
        return _isPacked ? RecoverPacked(ring, guest.Descriptors, ref configuration) : RecoverSplit(ring, guest.Used, ref configuration);
    }

    private string? RecoverSplit(Vring ring, ulong usedRing, ref QueueConfiguration configuration)
    {
        if (!Region!.TryGetLog(ring.Index, out InflightLog? log)) return null;
        Span<byte> index = stackalloc byte[sizeof(ushort)];
        if (!memory.Guest.TryRead(usedRing + UsedIndexOffset, index)) return "a used ring outside of guest memory";
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
        if (!Region!.TryGetLog(ring.Index, out PackedInflightLog? log)) return null;
        bool isThere = true;
        ushort FlagsAt(PackedPosition position)
        {
            Span<byte> flags = stackalloc byte[sizeof(ushort)];
            isThere = memory.Guest.TryRead(table + position.FlagsOffset, flags);
            return BinaryPrimitives.ReadUInt16LittleEndian(flags);
        }
        PackedPosition start = new PackedPosition(ring.UsedBase ?? ring.AvailBase);
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
