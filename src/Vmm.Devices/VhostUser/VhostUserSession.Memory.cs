using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <content>Guest memory: the table, the slots, the log of what was written.</content>
internal sealed partial class VhostUserSession
{
    private const int SlotPaddingBytes = 8;

    /// <summary>Dirty bits are set word by word: the log must start at a multiple of this in its file.</summary>
    private const ulong LogAlignment = 8;

    private readonly GuestMemory _memory = new();
    /// <summary>Regions that were added again just as they are, and how often.</summary>
    private readonly Dictionary<GuestRegion, int> _repeats = [];
    private DirtyLog? _dirtyLog;

    private string? SetMemoryTable(ReadOnlySpan<byte> payload)
    {
        int count = (payload.Length - MessageShape.MemoryTableHeaderBytes) / MessageShape.RegionBytes;
        if (ReadHalf(payload, 0) != (uint)count || _reader.Fds.Count != count) return "a number of regions that is not what the message carries";
        List<GuestRegion> regions = [];
        string? refusal = null;
        for (int i = 0; i < count && refusal is null; i++)
        {
            RegionLayout layout = ReadLayout(payload[(MessageShape.MemoryTableHeaderBytes + (i * MessageShape.RegionBytes))..]);
            refusal = Map(layout, i, regions, out GuestRegion? region);
            if (region is not null) regions.Add(region);
        }
        if (refusal is not null)
        {
            regions.ForEach(region => region.Dispose());
            return refusal;
        }
        // Rings may lie elsewhere in another table: they come to rest in this one and start again in that.
        WhenStopped(_rings, () =>
        {
            if (!_memory.TryReplace(regions, out string? refused)) regions.ForEach(region => region.Dispose());
            else _repeats.Clear();
            Refuse(refused);
            MemoryChanged();
        });
        return null;
    }

    private string? AddMemoryRegion(ReadOnlySpan<byte> payload)
    {
        RegionLayout layout = ReadLayout(payload[SlotPaddingBytes..]);
        if (_memory.Regions.FirstOrDefault(region => region.Layout == layout) is { } known && IsSameFile(known.File.Number, _reader.Fds.Peek(0)))
        {
            // A network's queue pairs are devices of their own to QEMU 7.2: each adds the same memory, and removes it.
            _repeats[known] = _repeats.GetValueOrDefault(known) + 1;
            return null;
        }
        string? refusal = Map(layout, 0, _memory.Regions, out GuestRegion? region);
        if (region is null) return refusal;
        if (!_memory.TryAdd(region, out refusal))
        {
            region.Dispose();
            return refusal;
        }
        MemoryChanged();
        return null;
    }

    private string? RemoveMemoryRegion(ReadOnlySpan<byte> payload)
    {
        RegionLayout asked = ReadLayout(payload[SlotPaddingBytes..]);
        GuestRegion? region = _memory.Regions.FirstOrDefault(region => region.Layout with { FileOffset = 0 } == asked with { FileOffset = 0 });
        if (region is null) return "a region that is not there";
        if (_repeats.Remove(region, out int repeats))
        {
            if (repeats > 1) _repeats[region] = repeats - 1;
            return null;
        }
        // A ring whose memory goes is brought to rest first; it starts again when its memory is back.
        WhenStopped([.. _rings.Where(ring => ring.Addresses is { } addresses && Touches(region.Layout, addresses))], () =>
        {
            _memory.Remove(region.GuestAddress);
            MemoryChanged();
        });
        return null;
    }

    private string? SetLogBase(ReadOnlySpan<byte> payload)
    {
        ulong bytes = ReadWord(payload), offset = BinaryPrimitives.ReadUInt64LittleEndian(payload[sizeof(ulong)..]);
        if (offset % LogAlignment != 0 || bytes % LogAlignment != 0) return "a log that is not aligned";
        if (Map(new RegionLayout(0, bytes, offset), 0, [], out GuestRegion? region) is { } refusal) return refusal;
        DirtyLog? before = _dirtyLog;
        _dirtyLog = new DirtyLog(region!);
        SwitchLog();
        Reply(0UL);
        // Queues may be marking pages in the old one: it goes when each of their threads has passed by.
        if (before is not null) OnEveryRingThread(_ => { }, before.Dispose);
        return null;
    }

    private void SwitchLog() => _memory.DirtyLog = (_features & LogAll) != 0 ? _dirtyLog : null;

    /// <summary>Has every running queue let go of what is no longer memory, and starts rings that waited for it.</summary>
    private void MemoryChanged() => OnEveryRingThread(ring => ring.Queue?.RefreshMemory(), () =>
    {
        foreach (Vring ring in _rings) Refuse(TryStart(ring));
    });

    /// <summary>Maps a region from a descriptor of the message.</summary>
    private string? Map(in RegionLayout layout, int fdIndex, IEnumerable<GuestRegion> others, out GuestRegion? region)
    {
        region = null;
        if (!FdInspection.IsMappableFile(_reader.Fds.Peek(fdIndex))) return "memory that is no regular file open for reading and writing";
        if (layout.Length != 0 && layout.UserAddress != 0)
        {
            foreach (GuestRegion other in others)
            {
                ulong start = other.Layout.UserAddress;
                if (layout.UserAddress - start < other.Length || start - layout.UserAddress < layout.Length)
                    return "memory regions overlap in the front-end's address space";
            }
        }
        if (!FdInspection.IsSealedAgainstShrinking(_reader.Fds.Peek(fdIndex)))
        {
            if (_options.RequireSealed) return "memory that is not sealed against shrinking (F_SEAL_SHRINK), and such was asked for";
            _backend.WarnOnce("guest memory is not sealed against shrinking: whoever owns it can end this process by cutting it short");
        }
        OwnedFd file = new(_reader.Fds.Take(fdIndex));
        if (GuestRegion.TryMap(file, layout, out region, out string? refusal)) return null;
        file.Dispose();
        return refusal;
    }

    private static bool IsSameFile(int one, int other) =>
        MemoryCalls.Stat(one, out FileStatus first) == Errno.None && MemoryCalls.Stat(other, out FileStatus second) == Errno.None
        && (first.Device, first.Inode) == (second.Device, second.Inode);

    private static bool Touches(in RegionLayout region, in VringAddresses addresses) =>
        addresses.Descriptors - region.UserAddress < region.Length || addresses.Available - region.UserAddress < region.Length
        || addresses.Used - region.UserAddress < region.Length;

    private static RegionLayout ReadLayout(ReadOnlySpan<byte> bytes) => new(
        GuestAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        Length: BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        UserAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]),
        FileOffset: BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
}
