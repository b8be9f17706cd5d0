namespace Vmm.Devices.Kvm;

/// <summary>
/// What a guest sees of its processors: what the host's KVM can give, with the guest's own topology, and the bits that KVM leaves to the
/// host program (KVM API, KVM_GET_SUPPORTED_CPUID).
/// </summary>
internal static class GuestCpuid
{
    private const uint FeatureTscDeadline = 1u << 24;
    private const uint FeatureHypervisor = 1u << 31;
    private const uint FeatureHyperThreading = 1u << 28;
    private const uint TopologyLeaf = 0xb;
    private const uint ExtendedTopologyLeaf = 0x1f;
    private const int TopologyLevels = 3;
    private const uint SmtLevel = 0x100;
    private const uint CoreLevel = 0x201;

    /// <summary>The leaves for one vCPU, whose number is its APIC id, of a machine with one package of so many cores.</summary>
    internal static KvmCpuidEntry[] For(KvmSystem system, int index, int count)
    {
        bool hasDeadlineTimer = system.Check(KvmCapability.TscDeadlineTimer) > 0;
        KvmCpuidEntry[] supported = system.GetSupportedCpuid();
        KvmCpuidEntry[] entries = new KvmCpuidEntry[supported.Length + TopologyLevels];
        int end = 0;
        foreach (ref KvmCpuidEntry entry in supported.AsSpan())
        {
            if (entry.Function is TopologyLeaf or ExtendedTopologyLeaf) continue;
            Adapt(ref entry, (uint)index, (uint)count, hasDeadlineTimer);
            entries[end++] = entry;
        }
        AddTopology(entries, ref end, (uint)index, (uint)count);
        Array.Resize(ref entries, end);
        return entries;
    }

    private static void Adapt(ref KvmCpuidEntry entry, uint index, uint count, bool hasDeadlineTimer)
    {
        switch (entry.Function)
        {
            case 1:
                entry.Ecx |= FeatureHypervisor | (hasDeadlineTimer ? FeatureTscDeadline : 0);
                entry.Ebx = (entry.Ebx & 0xffff) | (Math.Min(count, 255) << 16) | (index << 24);
                entry.Edx = count > 1 ? entry.Edx | FeatureHyperThreading : entry.Edx & ~FeatureHyperThreading;
                break;
            case 4 or 0x8000_001d:
                // Caches: cores that share one, minus 1, in bits 14 to 25. Each core has its own; leaf 4 also has the cores of the package.
                entry.Eax &= ~(0xfffu << 14);
                if (entry.Function == 4 && (entry.Eax & 0x1f) != 0) entry.Eax = (entry.Eax & 0x03ff_ffff) | (Math.Min(count - 1, 63) << 26);
                break;
            case 0x8000_0008:
                entry.Ecx = (count - 1) | (Shift(count) << 12);
                break;
            case 0x8000_001e:
                entry.Eax = index;
                entry.Ebx = index & 0xff;
                entry.Ecx = 0;
                break;
        }
    }

    /// <summary>One thread a core, all cores in one package.</summary>
    private static void AddTopology(KvmCpuidEntry[] entries, ref int end, uint index, uint count)
    {
        entries[end++] = Level(0, index) with { Eax = 0, Ebx = 1, Ecx = SmtLevel };
        entries[end++] = Level(1, index) with { Eax = Shift(count), Ebx = count, Ecx = CoreLevel };
        entries[end++] = Level(2, index) with { Ecx = 2 };
    }

    private static KvmCpuidEntry Level(uint level, uint index) =>
        new() { Function = TopologyLeaf, Index = level, Flags = KvmCpuidEntry.SignificantIndex, Edx = index };

    /// <summary>Bits of an APIC id that number the cores.</summary>
    private static uint Shift(uint count) => count <= 1 ? 0 : (uint)(32 - System.Numerics.BitOperations.LeadingZeroCount(count - 1));
}
