using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <content>Guest memory: the table, the slots, the log of what was written.</content>
internal sealed partial class VhostUserSession
{
    private const int SlotPaddingBytes = 8;

    private const string Unsealed =
        "memory that its owner can still shorten (F_SEAL_SHRINK is not set): have the front-end use a sealed memfd "
        + "(QEMU: -object memory-backend-memfd,share=on), or serve with --allow-unsealed one that cannot (cloud-hypervisor, "
            + "User Mode Linux, DPDK --no-huge)";

    /// <summary>Dirty bits are set word by word: the log must start at a multiple of this in its file.</summary>
    private const ulong LogAlignment = 8;

    /// <summary>Longest log: a bit for each page of the longest region of guest memory.</summary>
    private const ulong LogBytesMax = GuestRegion.LengthMax / 4096 / 8;

    private readonly GuestMemory _memory = new();
    /// <summary>The regions of <see cref="_memory"/>, with the addresses that the front-end has for them.</summary>
    private List<SharedRegion> _shared = [];
    /// <summary>Regions that were added again just as they are, and how often.</summary>
    private readonly Dictionary<GuestRegion, int> _repeats = [];
    private readonly MappingBudget.Account _mapped;
    /// <summary>What a request mapped and did not put into force, or took out of force: <see cref="LetGo"/> unmaps it.</summary>
    private readonly List<IDisposable> _retired = [];
    private DirtyLog? _dirtyLog;

    private async ReactorTask<string?> SetMemoryTable()
    {
        ReadOnlySpan<byte> payload = _reader.Payload;
        // Room behind the last region is no error: User Mode Linux sends one region in a message that has room for two.
        int room = (payload.Length - MessageShape.MemoryTableHeaderBytes) / MessageShape.RegionBytes;
        uint count = ReadHalf(payload, 0);
        if (count > (uint)room || _reader.Fds.Count != count) return "a number of regions that is not what the message carries";
        RegionDescription[] asked = new RegionDescription[count];
        for (int i = 0; i < asked.Length; i++)
            asked[i] = ReadRegion(payload[(MessageShape.MemoryTableHeaderBytes + (i * MessageShape.RegionBytes))..]);
        List<SharedRegion> shared = [];
        string? refusal = await Beside(() => MapTable(asked, shared));
        if (refusal is not null) return refusal;
        // Rings may lie elsewhere in another table: they stop in this one and start again in that.
        await StopRings(_rings, QuiesceReason.Pause);
        List<GuestRegion> regions = shared.ConvertAll(each => each.Region);
        GuestRegion[] gone = [.. _memory.Regions.Except(regions)];
        Array.ForEach(gone, region => region.Hold());
        if (_memory.TryReplace(regions, out refusal))
        {
            _shared = shared;
            _retired.Clear();
            _repeats.Clear();
        }
        _retired.AddRange(gone);
        string? other = await MemoryChanged();
        return refusal ?? other;
    }

    private async ReactorTask<string?> AddMemoryRegion()
    {
        RegionDescription asked = ReadRegion(_reader.Payload[SlotPaddingBytes..]);
        (string? refusal, GuestRegion? region, bool isKnown) = await Beside(() => MapOrKnow(asked, 0, _shared));
        if (region is null) return refusal;
        if (isKnown)
        {
            // A network's queue pairs are devices of their own to QEMU 7.2: each adds the same memory, and removes it.
            _repeats[region] = _repeats.GetValueOrDefault(region) + 1;
            return null;
        }
        if (!_memory.TryAdd(region, out refusal)) return refusal;
        _shared.Add(new SharedRegion(region, asked.UserAddress));
        _retired.Remove(region);
        return await MemoryChanged();
    }

    private async ReactorTask<string?> RemoveMemoryRegion()
    {
        RegionDescription asked = ReadRegion(_reader.Payload[SlotPaddingBytes..]);
        int index = _shared.FindIndex(each => each.Description with { FileOffset = 0 } == asked with { FileOffset = 0 });
        if (index < 0) return "a region that is not there";
        SharedRegion shared = _shared[index];
        GuestRegion region = shared.Region;
        if (_repeats.Remove(region, out int repeats))
        {
            if (repeats > 1) _repeats[region] = repeats - 1;
            return null;
        }
        // A ring whose memory goes is stopped first; it starts again when its memory is back.
        await StopRings(_rings.Where(ring => ring.Addresses is { } addresses && Touches(shared, addresses)), QuiesceReason.Pause);
        region.Hold();
        _retired.Add(region);
        _shared.RemoveAt(index);
        _memory.Remove(region.GuestAddress);
        return await MemoryChanged();
    }

    private async ReactorTask<string?> SetLogBase()
    {
        ReadOnlySpan<byte> payload = _reader.Payload;
        ulong bytes = ReadWord(payload), offset = BinaryPrimitives.ReadUInt64LittleEndian(payload[sizeof(ulong)..]);
        if (offset % LogAlignment != 0 || bytes % LogAlignment != 0) return "a log that is not aligned";
        if (bytes > LogBytesMax) return "a log that is longer than any guest's memory needs";
        (string? refusal, GuestRegion? region) = await Beside(() => Map(new RegionDescription(0, bytes, offset), 0, []));
        if (region is null) return refusal;
        DirtyLog? before = _dirtyLog;
        _dirtyLog = new DirtyLog(region);
        _retired.Remove(region);
        SwitchLog();
        Reply(0UL);
        if (before is null) return null;
        // Queues may be marking pages in the old one: it goes when each of their threads has passed by.
        await _runner.VisitAsync(_ => { });
        _retired.Add(before);
        return null;
    }

    private void SwitchLog() => _memory.DirtyTracker = (_features & LogAll) != 0 ? _dirtyLog : null;

    /// <summary>Has every running queue let go of what is no longer memory, and starts rings that waited for it.</summary>
    /// <returns>Why a ring can't start though it has all it needs; null if there is none.</returns>
    private async ReactorTask<string?> MemoryChanged()
    {
        await _runner.VisitAsync(queue => queue.RefreshMemory());
        string? refusal = null;
        foreach (Vring ring in _rings)
        {
            string? refused = await TryStart(ring);
            refusal ??= refused;
        }
        return refusal;
    }

    /// <summary>
    /// Has the runtime's pool make calls that take as long as a front-end likes, while the session waits: mapping and unmapping (eight
    /// regions, terabytes, huge pages), closing what it sent. The reactor serves the neighbours meanwhile. Nothing else of the session
    /// goes on, so the calls may use all of it.
    /// </summary>
    private async ReactorTask<T> Beside<T>(Func<T> calls)
    {
        T? result = default;
        Task made = _options.SlowCalls(() => result = calls());
        try
        {
            await made.ComeHome();
        }
        catch (TaskAbortedException)
        {
            // The reactor ends. What the calls use is let go of next.
            made.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
            throw;
        }
        return result!;
    }

    /// <summary>Unmaps what a request left behind, and closes its descriptors: beside the reactor, if there are any.</summary>
    private async ReactorTask LetGo()
    {
        if (_retired.Count > 0 || _reader.Fds.AnyLeft) await Beside(DropRetired);
    }

    private bool DropRetired()
    {
        _retired.ForEach(each => each.Dispose());
        _retired.Clear();
        _reader.Fds.Clear();
        return true;
    }

    /// <param name="asked">In the order of the message's descriptors.</param>
    /// <param name="shared">Gets all regions of the table.</param>
    /// <returns>Why it is refused; null if all are mapped.</returns>
    private string? MapTable(RegionDescription[] asked, List<SharedRegion> shared)
    {
        for (int i = 0; i < asked.Length; i++)
        {
            (string? refusal, GuestRegion? region, _) = MapOrKnow(asked[i], i, shared);
            if (region is null) return refusal;
            shared.Add(new SharedRegion(region, asked[i].UserAddress));
        }
        return null;
    }

    /// <summary>
    /// What stays as it is, the same place of the same file, stays mapped: the same table, sent again and again, costs no mapping.
    /// </summary>
    private (string? Refusal, GuestRegion? Region, bool IsKnown) MapOrKnow(
        RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        GuestRegion? known = _shared.Find(each => each.Description == asked).Region;
        if (known is not null && MemoryFile.WhyNot(_reader.Fds.Peek(fdIndex)) is null
            && known.Source == MemoryFile.Of(_reader.Fds.Peek(fdIndex)))
            return (null, known, true);
        (string? refusal, GuestRegion? region) = Map(asked, fdIndex, others);
        return (refusal, region, false);
    }

    /// <summary>
    /// Maps a region from a descriptor of the message. It is retired until it comes into force; if it is refused, so is the message.
    /// </summary>
    private (string? Refusal, GuestRegion? Region) Map(RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        (string? refusal, GuestRegion? region) = TryMap(asked, fdIndex, others);
        if (region is null) DropRetired();
        else _retired.Add(region);
        return (refusal, region);
    }

    private (string? Refusal, GuestRegion? Region) TryMap(RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        if (MemoryFile.WhyNot(_reader.Fds.Peek(fdIndex)) is { } wrong) return (wrong, null);
        if (asked.WrapsInFrontEnd) return ($"a memory region that wraps, at front-end address 0x{asked.UserAddress:x}", null);
        if (asked.Length != 0 && asked.UserAddress != 0 && others.Any(other => other.Overlaps(asked)))
            return ("memory regions overlap in the front-end's address space", null);
        MemoryFile source = MemoryFile.Of(_reader.Fds.Peek(fdIndex));
        if (!source.IsSealed)
        {
            if (!_options.AllowUnsealed) return (Unsealed, null);
            _backend.WarnOnce(BusErrorGuard.IsInstalled
                ? "guest memory is not sealed against shrinking, which is allowed here: if its owner shortens it, the connection ends"
                : "guest memory is not sealed against shrinking, which is allowed here: if its owner shortens it, this process ends");
        }
        string? refusal = GuestRegion.TryMapForeign(
            new OwnedFd(_reader.Fds.Take(fdIndex)), asked.Layout, source, _mapped, out GuestRegion? region);
        return (refusal, region);
    }

    private static bool Touches(in SharedRegion region, in VringAddresses addresses) =>
        region.Contains(addresses.Descriptors) || region.Contains(addresses.Available) || region.Contains(addresses.Used);

    private static RegionDescription ReadRegion(ReadOnlySpan<byte> bytes) => new(
        GuestAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        Length: BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        UserAddress: BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]),
        FileOffset: BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
}
