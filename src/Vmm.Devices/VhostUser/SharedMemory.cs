using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>The guest memory that a front-end shares: its regions, and the log of what was written.</summary>
internal sealed class SharedMemory(VhostUserBackend backend, VhostUserExchange exchange, SlowCalls slow, MappingBudget.Account mapped)
{
    private const string Unsealed =
        "memory that its owner can still shorten (F_SEAL_SHRINK is not set): have the front-end use a sealed memfd "
        + "(QEMU: -object memory-backend-memfd,share=on), or serve with --allow-unsealed one that cannot (cloud-hypervisor, "
            + "User Mode Linux, DPDK --no-huge)";

    private DirtyLog? _log;

    internal GuestMemory Guest { get; } = new();

    /// <summary>The regions of <see cref="Guest"/>, with the addresses that the front-end has for them.</summary>
    internal List<SharedRegion> Shared { get; set; } = [];

    internal bool IsEmpty => Guest.Regions.Count == 0;

    /// <summary>Marks pages in another log from now on.</summary>
    /// <returns>The one before: queues may be marking pages in it.</returns>
    internal DirtyLog? ReplaceLog(DirtyLog log, bool isUsed)
    {
        DirtyLog? before = _log;
        _log = log;
        SwitchLog(isUsed);
        return before;
    }

    internal void SwitchLog(bool isUsed) => Guest.DirtyTracker = isUsed ? _log : null;

    /// <summary>The session ends: no queue runs.</summary>
    internal void Retire()
    {
        Guest.DirtyTracker = null;
        if (!IsEmpty) slow.Retire(Guest);
        slow.Retire(_log);
    }

    internal bool TryTranslate(in VringAddresses user, out VringAddresses guest)
    {
        bool found = TryTranslate(user.Descriptors, out ulong descriptors);
        found &= TryTranslate(user.Used, out ulong used);
        found &= TryTranslate(user.Available, out ulong available);
        guest = new VringAddresses(descriptors, used, available);
        return found;
    }

    private bool TryTranslate(ulong userAddress, out ulong guestAddress)
    {
        SharedRegion shared = Shared.Find(each => each.Contains(userAddress));
        guestAddress = shared.Region is null ? 0 : shared.Region.GuestAddress + (userAddress - shared.UserAddress);
        return shared.Region is not null;
    }

    /// <param name="asked">In the order of the message's descriptors.</param>
    /// <param name="shared">Gets all regions of the table.</param>
    /// <returns>Why it is refused; null if all are mapped.</returns>
    internal string? MapTable(RegionDescription[] asked, List<SharedRegion> shared)
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
    internal (string? Refusal, GuestRegion? Region, bool IsKnown) MapOrKnow(
        RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        GuestRegion? known = Shared.Find(each => each.Description == asked).Region;
        if (known is not null && MemoryFile.WhyNot(exchange.Fds.Peek(fdIndex)) is null
            && known.Source == MemoryFile.Of(exchange.Fds.Peek(fdIndex)))
            return (null, known, true);
        (string? refusal, GuestRegion? region) = Map(asked, fdIndex, others);
        return (refusal, region, false);
    }

    /// <summary>
    /// Maps a region from a descriptor of the message. It is retired until it comes into force; if it is refused, so is the message.
    /// </summary>
    internal (string? Refusal, GuestRegion? Region) Map(RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        (string? refusal, GuestRegion? region) = TryMap(asked, fdIndex, others);
        if (region is null) slow.Drop();
        else slow.Retire(region);
        return (refusal, region);
    }

    private (string? Refusal, GuestRegion? Region) TryMap(RegionDescription asked, int fdIndex, IEnumerable<SharedRegion> others)
    {
        if (MemoryFile.WhyNot(exchange.Fds.Peek(fdIndex)) is { } wrong) return (wrong, null);
        if (asked.WrapsInFrontEnd) return ($"a memory region that wraps, at front-end address 0x{asked.UserAddress:x}", null);
        if (asked.Length != 0 && asked.UserAddress != 0 && others.Any(other => other.Overlaps(asked)))
            return ("memory regions overlap in the front-end's address space", null);
        MemoryFile source = MemoryFile.Of(exchange.Fds.Peek(fdIndex));
        if (!source.IsSealed)
        {
            if (!backend.Options.AllowUnsealed) return (Unsealed, null);
            backend.WarnOnce(BusErrorGuard.IsInstalled
                ? "guest memory is not sealed against shrinking, which is allowed here: if its owner shortens it, the connection ends"
                : "guest memory is not sealed against shrinking, which is allowed here: if its owner shortens it, this process ends");
        }
        string? refusal = GuestRegion.TryMapForeign(
            new OwnedFd(exchange.Fds.Take(fdIndex)), asked.Layout, source, mapped, out GuestRegion? region);
        return (refusal, region);
    }
}
