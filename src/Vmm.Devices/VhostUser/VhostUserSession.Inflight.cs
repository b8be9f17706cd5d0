using System.Buffers.Binary;

namespace Vmm.Devices.VhostUser;

/// <content>
/// In-flight logs: the front-end keeps the memory in which we note what we have taken, and gives it to whoever serves the device after us.
/// </content>
internal sealed partial class VhostUserSession
{
    private const ulong UsedIndexOffset = 2;

    private InflightRegion? _inflight;

    private ushort QueueSizeMax => _device.Queues.Max(queue => queue.SizeMax);

    private string? GetInflightFd(ReadOnlySpan<byte> payload)
    {
        InflightGeometry asked = InflightGeometry.Read(payload);
        if (asked.Check(_rings.Length, QueueSizeMax) is { } refusal) return refusal;
        // Not in use before the front-end hands it in: it may keep what it has.
        using InflightRegion fresh = InflightRegion.Create(asked.Queues, asked.QueueSize);
        fresh.Geometry.Write(BeginReply(payload.Length, fresh.File.Duplicate()));
        return null;
    }

    private string? SetInflightFd(ReadOnlySpan<byte> payload)
    {
        InflightGeometry geometry = InflightGeometry.Read(payload);
        if (AnyRunning) return "other in-flight logs while rings run";
        if ((geometry.Check(_rings.Length, QueueSizeMax) ?? geometry.CheckPlace()) is { } refusal) return refusal;
        if (Map(new RegionLayout(0, geometry.BytesNeeded, geometry.Offset), 0, [], out GuestRegion? region) is { } unmapped) return unmapped;
        _inflight?.Dispose();
        _inflight = InflightRegion.Adopt(region!, geometry);
        return null;
    }

    /// <summary>Finds what the process before us had taken of a ring that is about to start, and sets its base accordingly.</summary>
    private string? Recover(Vring ring, ulong usedRing, out InflightLog? log, out ushort[] retaken)
    {
        log = null;
        retaken = [];
        if (_inflight is null || !_inflight.TryGetLog(ring.Index, out log)) return null;
        if (log.Size < ring.Size) return "a ring larger than its in-flight log";
        Span<byte> index = stackalloc byte[sizeof(ushort)];
        if (!_memory.TryRead(usedRing + UsedIndexOffset, index)) return "a used ring outside of guest memory";
        ushort usedIndex = BinaryPrimitives.ReadUInt16LittleEndian(index);
        retaken = log.Recover(usedIndex);
        if (retaken.Length == 0) return null;
        if (retaken.Length > ring.Size || retaken.Max() >= ring.Size) return "an in-flight log with descriptors the ring does not have";
        ring.AvailBase = (ushort)(usedIndex + retaken.Length);
        ring.UsedBase = usedIndex;
        return null;
    }
}
