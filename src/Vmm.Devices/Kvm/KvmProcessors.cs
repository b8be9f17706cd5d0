namespace Vmm.Devices.Kvm;

/// <summary>The processors of a machine with what their guest saw of them, and the clock of KVM that they share.</summary>
internal sealed class KvmProcessors(KvmBoard board)
{
    private const long NanosecondsPerTick = 100;

    private readonly List<KvmVcpu> _vcpus = [];
    private readonly List<KvmCpuidEntry[]> _cpuid = [];
    private ulong _pausedClock;

    internal IReadOnlyList<KvmVcpu> All => _vcpus;

    internal KvmVcpu this[int index] => _vcpus[index];

    /// <summary>Makes the next one. It is the caller's, who disposes it.</summary>
    internal KvmVcpu Add(KvmCpuidEntry[] cpuid)
    {
        KvmVcpu vcpu = board.Vm.CreateVcpu(_vcpus.Count);
        _vcpus.Add(vcpu);
        _cpuid.Add(cpuid);
        vcpu.SetCpuid(cpuid);
        return vcpu;
    }

    /// <summary>They stand still.</summary>
    internal void Pause() => _pausedClock = board.Vm.GetClock();

    /// <summary>They go on at the time that it was.</summary>
    internal void GoOn()
    {
        board.Vm.SetClock(_pausedClock);
        MarkPaused();
    }

    internal void Save(StateWriter to)
    {
        to.Add("clock-ns", (long)_pausedClock);
        to.Add("tsc-khz", (long)_vcpus[0].TscKilohertz);
        board.Vm.SaveChips(to.AddRecord("chips"), legacy: !board.Options.Acpi);
        uint[] msrs = board.System.GetMsrIndices();
        for (int i = 0; i < _vcpus.Count; i++)
        {
            StateWriter vcpu = to.AddItem("vcpus");
            KvmVcpuRecord.Write(vcpu, _vcpus[i].Save(msrs));
            KvmVcpuRecord.WriteCpuid(vcpu, _cpuid[i]);
        }
    }

    /// <summary>
    /// Makes them, and the interrupt controllers, what they were. The guest's clocks go on as if it had slept. Model-specific registers of
    /// a processor that KVM does not take are reported.
    /// </summary>
    internal void Restore(StateReader from, IReadOnlyList<StateReader> saved, long savedUnixNanoseconds,
        Action<int, IReadOnlyList<uint>> refused)
    {
        KvmVm vm = board.Vm;
        vm.RestoreChips(from.Record("chips"), legacy: !board.Options.Acpi);
        long clock = from.Int64("clock-ns", 0, long.MaxValue / 2);
        uint kilohertz = (uint)from.Int64("tsc-khz", 0, uint.MaxValue);
        long slept = Math.Clamp(UnixNanoseconds - savedUnixNanoseconds, 0, long.MaxValue / 4);
        // Before the processors too: one of their registers has KVM write the wall clock's time into memory by it.
        vm.SetClock((ulong)(clock + slept));
        for (int i = 0; i < saved.Count; i++)
        {
            KvmVcpuState vcpu = KvmVcpuRecord.Read(saved[i]);
            if (kilohertz > 0 && _vcpus[i].TscKilohertz != kilohertz) _vcpus[i].SetTscKilohertz(kilohertz);
            foreach (ref KvmMsrEntry msr in vcpu.Msrs.AsSpan())
            {
                if (msr.Index == KvmVcpu.TimeStampCounter) msr.Data += (ulong)((UInt128)(ulong)slept * kilohertz / 1_000_000);
            }
            refused(i, _vcpus[i].Restore(vcpu));
        }
        vm.SetClock((ulong)(clock + slept));
        MarkPaused();
    }

    /// <summary>What a guest saw of its processor, if this host can give it.</summary>
    internal KvmCpuidEntry[] CheckedCpuid(StateReader vcpu)
    {
        KvmCpuidEntry[] saved = KvmVcpuRecord.ReadCpuid(vcpu);
        IReadOnlyList<string> missing =
            CpuidFeatures.Missing(saved, GuestCpuid.For(board.System, _vcpus.Count, board.Options.Vcpus));
        return missing.Count == 0 ? saved
            : throw vcpu.Wrong("cpuid", $"has what this host's processor or KVM lacks: {string.Join(", ", missing)}");
    }

    internal static long UnixNanoseconds => (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * NanosecondsPerTick;

    private void MarkPaused()
    {
        foreach (KvmVcpu vcpu in _vcpus) vcpu.MarkPaused();
    }
}
