namespace Vmm.Devices.Kvm;

/// <summary>
/// The pages of a machine's memory, to which no region comes and from which none goes, that were written since it began: its devices mark
/// them, and KVM notes those that the guest, or KVM itself, writes (<see cref="KvmVm.Renew"/>).
/// </summary>
internal sealed class KvmDirtyTracker(KvmVm vm, GuestMemory memory) : IDirtyTracker, IBeforeWrite
{
    private readonly ulong[] _ofDevices = DirtyPages.None(memory.Regions[^1].GuestAddress + memory.Regions[^1].Length);

    public void Mark(ulong address, ulong length) => DirtyPages.Mark(_ofDevices, address, length);

    /// <summary>Marks pages that a device may write at any time.</summary>
    public void Keep(ulong address, ulong length) => Mark(address, length);

    /// <summary>
    /// Adds the pages of a whole region that were written. What the guest has written is only forgotten when it gets the region anew. No
    /// vCPU runs, no device writes.
    /// </summary>
    public void Take(ulong address, Span<ulong> pages)
    {
        DirtyPages.Take(_ofDevices, address, pages);
        vm.AddDirtyPages(memory.Regions.Single(region => region.GuestAddress == address), pages);
    }
}
