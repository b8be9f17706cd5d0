using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Carries out what a front-end asks of memory: the table, the slots, the log of what was written. Rings that use the memory stop.
/// </summary>
internal sealed class MemoryRequests(
    VhostUserExchange exchange, SlowCalls slow, SharedMemory memory, FrontEndFeatures features, VhostUserRings rings)
{
    private const int SlotPaddingBytes = 8;

    /// <summary>Dirty bits are set word by word: the log must start at a multiple of this in its file.</summary>
    private const ulong LogAlignment = 8;

    /// <summary>Longest log: a bit for each page of the longest region of guest memory.</summary>
    private const ulong LogBytesMax = GuestRegion.LengthMax / 4096 / 8;

    /// <summary>Regions that were added again just as they are, and how often.</summary>
    private readonly Dictionary<GuestRegion, int> _repeats = [];

    internal async ReactorTask<string?> SetTable()
    {
        ReadOnlySpan<byte> payload = exchange.Payload;
        // Room behind the last region is no error: User Mode Linux sends one region in a message that has room for two.
        int room = (payload.Length - MessageShape.MemoryTableHeaderBytes) / MessageShape.RegionBytes;
        uint count = exchange.Half(0);
        if (count > (uint)room || exchange.Fds.Count != count) return "a number of regions that is not what the message carries";
        RegionDescription[] asked = new RegionDescription[count];
        for (int i = 0; i < asked.Length; i++)
            asked[i] = ReadRegion(payload[(MessageShape.MemoryTableHeaderBytes + (i * MessageShape.RegionBytes))..]);
        List<SharedRegion> shared = [];
        string? refusal = await slow.Beside(() => memory.MapTable(asked, shared));
        if (refusal is not null) return refusal;
        // Rings may lie elsewhere in another table: they stop in this one and start again in that.
        await rings.Stop(_ => true, QuiesceReason.Pause);
        List<GuestRegion> regions = shared.ConvertAll(each => each.Region);
        GuestRegion[] gone = [.. memory.Guest.Regions.Except(regions)];
        Array.ForEach(gone, region => region.Hold());
        if (memory.Guest.TryReplace(regions, out refusal))
        {
            memory.Shared = shared;
            slow.KeepAll();
            _repeats.Clear();
        }
        Array.ForEach(gone, slow.Retire);
        string? other = await MemoryChanged();
        return refusal ?? other;
    }

    internal async ReactorTask<string?> AddRegion()
    {
        RegionDescription asked = ReadRegion(exchange.Payload[SlotPaddingBytes..]);
        (string? refusal, GuestRegion? region, bool isKnown) = await slow.Beside(() => memory.MapOrKnow(asked, 0, memory.Shared));
        if (region is null) return refusal;
        if (isKnown)
        {
            // A network's queue pairs are devices of their own to QEMU 7.2: each adds the same memory, and removes it.
            _repeats[region] = _repeats.GetValueOrDefault(region) + 1;
            return null;
        }
        if (!memory.Guest.TryAdd(region, out refusal)) return refusal;
        memory.Shared.Add(new SharedRegion(region, asked.UserAddress));
        slow.Keep(region);
        return await MemoryChanged();
    }

    internal async ReactorTask<string?> RemoveRegion()
    {
        RegionDescription asked = ReadRegion(exchange.Payload[SlotPaddingBytes..]);
        int index = memory.Shared.FindIndex(each => each.Description with { FileOffset = 0 } == asked with { FileOffset = 0 });
        if (index < 0) return "a region that is not there";
        SharedRegion shared = memory.Shared[index];
        GuestRegion region = shared.Region;
        if (_repeats.Remove(region, out int repeats))
        {
            if (repeats > 1) _repeats[region] = repeats - 1;
            return null;
        }
        // A ring whose memory goes is stopped first; it starts again when its memory is back.
        await rings.Stop(ring => ring.Addresses is { } addresses && Touches(shared, addresses), QuiesceReason.Pause);
        region.Hold();
        slow.Retire(region);
        memory.Shared.RemoveAt(index);
        memory.Guest.Remove(region.GuestAddress);
        return await MemoryChanged();
    }

    internal async ReactorTask<string?> SetLog()
    {
        ulong bytes = exchange.Word(), offset = exchange.Word(sizeof(ulong));
        if (offset % LogAlignment != 0 || bytes % LogAlignment != 0) return "a log that is not aligned";
        if (bytes > LogBytesMax) return "a log that is longer than any guest's memory needs";
        (string? refusal, GuestRegion? region) = await slow.Beside(() => memory.Map(new RegionDescription(0, bytes, offset), 0, []));
        if (region is null) return refusal;
        DirtyLog? before = memory.ReplaceLog(new DirtyLog(region), features.LogsWrites);
        slow.Keep(region);
        exchange.Reply(0UL);
        if (before is null) return null;
        // Queues may be marking pages in the old one: it goes when each of their threads has passed by.
        await rings.Visit(_ => { });
        slow.Retire(before);
        return null;
    }

    /// <summary>Has every running queue let go of what is no longer memory, and starts rings that waited for it.</summary>
    /// <returns>Why a ring can't start though it has all it needs; null if there is none.</returns>
    private async ReactorTask<string?> MemoryChanged()
    {
        await rings.Visit(queue => queue.RefreshMemory());
        return await rings.StartAll();
    }

    private static bool Touches(in SharedRegion region, in VringAddresses addresses) =>
        region.Contains(addresses.Descriptors) || region.Contains(addresses.Available) || region.Contains(addresses.Used);

    private static RegionDescription ReadRegion(ReadOnlySpan<byte> bytes) => new(
        GuestAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        Length: BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        UserAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]),
        FileOffset: BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
}
