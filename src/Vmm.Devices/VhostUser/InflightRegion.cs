using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>What a front-end says of a region of in-flight logs (vhost-user protocol, "Inflight description").</summary>
/// <param name="Bytes">Of the region.</param>
/// <param name="Offset">Of its start in the file.</param>
/// <param name="Queues">Logs in it.</param>
/// <param name="QueueSize">Entries of each.</param>
internal readonly record struct InflightGeometry(ulong Bytes, ulong Offset, ushort Queues, ushort QueueSize)
{
    private const ulong OffsetAlignment = 8;

    /// <summary>Bytes the logs take.</summary>
    internal ulong BytesNeeded(bool packed) => Queues * BytesForEach(packed);

    /// <summary>Bytes with what we keep behind the logs; a region that another back-end made has no room for that.</summary>
    internal ulong BytesToMap(bool packed) =>
        Bytes >= BytesNeeded(packed) + InflightRegion.ModeBytes ? BytesNeeded(packed) + InflightRegion.ModeBytes : BytesNeeded(packed);

    /// <summary>Bytes of one queue's log.</summary>
    internal ulong BytesForEach(bool packed) => packed ? PackedInflightLog.BytesFor(QueueSize) : InflightLog.BytesFor(QueueSize);

    internal static InflightGeometry Read(ReadOnlySpan<byte> payload) => new(
        BinaryPrimitives.ReadUInt64LittleEndian(payload), BinaryPrimitives.ReadUInt64LittleEndian(payload[8..]),
        BinaryPrimitives.ReadUInt16LittleEndian(payload[16..]), BinaryPrimitives.ReadUInt16LittleEndian(payload[18..]));

    internal void Write(Span<byte> payload)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(payload, Bytes);
        BinaryPrimitives.WriteUInt64LittleEndian(payload[8..], Offset);
        BinaryPrimitives.WriteUInt16LittleEndian(payload[16..], Queues);
        BinaryPrimitives.WriteUInt16LittleEndian(payload[18..], QueueSize);
    }

    /// <summary>Why a device with some queues can't have this; null if it can.</summary>
    internal string? Check(int queuesMax)
    {
        if (Queues == 0 || Queues > queuesMax) return "in-flight logs for a number of queues the device does not have";
        return QueueSize is 0 or > VirtQueue.SizeLimit ? "in-flight logs for a queue size that no ring has" : null;
    }

    /// <summary>Why the logs can't lie in a region the front-end brought; null if they can.</summary>
    internal string? CheckPlace(bool packed) =>
        Bytes < BytesNeeded(packed) || Offset % OffsetAlignment != 0
            ? "a region of in-flight logs that is too small, or not aligned" : null;
}

/// <summary>The in-flight logs of a device's queues in one piece of shared memory.</summary>
internal sealed class InflightRegion : IDisposable
{
    private const ulong PageBytes = 4096;

    /// <summary>
    /// What we keep behind the logs: one word that says it is ours, with the driver's mode (<see cref="ConfigSpace.Mode"/>) in its lowest
    /// byte.
    /// </summary>
    internal const ulong ModeBytes = 64;
    private const ulong ModeMark = 0x65646f6d6d6d7600;
    private const byte ModeUnknown = 0xff;

    private readonly GuestMemory _memory = new();
    private readonly MemoryHold _hold;
    private readonly GuestRegion _region;
    private readonly GuestWindow? _mode;

    private InflightRegion(GuestRegion region, InflightGeometry geometry, bool packed)
    {
        Geometry = geometry;
        _region = region;
        _memory.TryAdd(region, out _);
        _hold = _memory.Hold();
        if (GuestWindow.TryResolve(_hold.Map, geometry.BytesNeeded(packed), ModeBytes, sizeof(ulong), out GuestWindow mode)) _mode = mode;
    }

    internal InflightGeometry Geometry { get; }

    /// <summary>What is handed to the front-end, for it to keep. Owned by this. Only of a region that <see cref="Create"/> made.</summary>
    internal OwnedFd File => _region.File;

    /// <summary>Which memory it is.</summary>
    internal MemoryFile Source => _region.Source;

    /// <summary>Makes empty logs in memory of our own, which no other process can shorten.</summary>
    /// <exception cref="KernelException">The host has not enough memory or descriptors.</exception>
    internal static InflightRegion Create(ushort queues, ushort queueSize, bool packed = false)
    {
        InflightGeometry geometry = new(0, 0, queues, queueSize);
        geometry = geometry with { Bytes = geometry.BytesNeeded(packed) + ModeBytes };
        return new InflightRegion(GuestRegion.Create(0, (geometry.Bytes + PageBytes - 1) / PageBytes * PageBytes), geometry, packed);
    }

    /// <summary>Takes over logs that a front-end kept. Its geometry was checked.</summary>
    internal static InflightRegion Adopt(GuestRegion region, InflightGeometry geometry, bool packed) => new(region, geometry, packed);

    /// <summary>The mode that the driver set, as the last back-end noted it; null if that is not known.</summary>
    internal byte? Mode
    {
        get
        {
            ulong word = _mode?.Load64(0) ?? 0;
            return (word & ~0xffUL) == ModeMark && (byte)word != ModeUnknown ? (byte)word : null;
        }
    }

    /// <summary>Notes the mode for the next back-end of the device.</summary>
    internal void NoteMode(byte? mode) => _mode?.Store64(0, ModeMark | (mode ?? ModeUnknown));

    /// <summary>A split queue's log.</summary>
    internal bool TryGetLog(int queue, [NotNullWhen(true)] out InflightLog? log)
    {
        log = TryGetWindow(queue, packed: false, out GuestWindow window) ? new InflightLog(window, Geometry.QueueSize) : null;
        return log is not null;
    }

    /// <summary>A packed queue's log.</summary>
    internal bool TryGetLog(int queue, [NotNullWhen(true)] out PackedInflightLog? log)
    {
        log = TryGetWindow(queue, packed: true, out GuestWindow window) ? new PackedInflightLog(window, Geometry.QueueSize) : null;
        return log is not null;
    }

    private bool TryGetWindow(int queue, bool packed, out GuestWindow window)
    {
        window = default;
        ulong bytes = Geometry.BytesForEach(packed);
        return queue < Geometry.Queues && GuestWindow.TryResolve(_hold.Map, (ulong)queue * bytes, bytes, sizeof(ulong), out window);
    }

    public void Dispose()
    {
        _hold.Dispose();
        _memory.Dispose();
    }
}
