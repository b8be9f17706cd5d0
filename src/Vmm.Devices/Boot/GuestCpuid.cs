using Vmm.Devices.Native;

namespace Vmm.Devices.Kvm;

/// <summary>
/// What a guest sees of its processors: what the host's KVM can give, with the guest's own topology, and the bits that KVM leaves to the host program
/// (KVM API, KVM_GET_SUPPORTED_CPUID).
/// </summary>
internal static class GuestCpuid
{
    private const uint FeatureTscDeadline = 1u << 24;
    private const uint FeatureHypervisor = 1u << 31;
    private const uint FeatureHyperThreading = 1u << 28;
    private const uint SmtLevel = 0x100;
    private const uint CoreLevel = 0x201;

    /// <summary>The leaves for one vCPU.</summary>
    /// <param name="system">The host's KVM.</param>
    /// <param name="index">The vCPU, and its APIC id.</param>
    /// <param name="count">vCPUs of the machine, one package of so many cores.</param>
    internal static KvmCpuidEntry[] For(KvmSystem system, int index, int count)
    {
        bool hasDeadlineTimer = system.Check(KvmCapability.TscDeadlineTimer) > 0;
        List<KvmCpuidEntry> entries = [.. system.GetSupportedCpuid().Where(entry => entry.Function is not (0xb or 0x1f))];
        for (int i = 0; i < entries.Count; i++)
        {
            KvmCpuidEntry entry = entries[i];
            Adapt(ref entry, (uint)index, (uint)count, hasDeadlineTimer);
            entries[i] = entry;
        }
        entries.AddRange(Topology((uint)index, (uint)count));
        return [.. entries];
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

    /// <summary>Leaf 0xb: one thread a core, all cores in one package.</summary>
    private static IEnumerable<KvmCpuidEntry> Topology(uint index, uint count) =>
    [
        new() { Function = 0xb, Index = 0, Flags = KvmCpuidEntry.SignificantIndex, Eax = 0, Ebx = 1, Ecx = SmtLevel, Edx = index },
        new() { Function = 0xb, Index = 1, Flags = KvmCpuidEntry.SignificantIndex, Eax = Shift(count), Ebx = count, Ecx = CoreLevel, Edx = index },
        new() { Function = 0xb, Index = 2, Flags = KvmCpuidEntry.SignificantIndex, Ecx = 2, Edx = index },
    ];

    /// <summary>Bits of an APIC id that number the cores.</summary>
    private static uint Shift(uint count) => count <= 1 ? 0 : (uint)(32 - System.Numerics.BitOperations.LeadingZeroCount(count - 1));
}
