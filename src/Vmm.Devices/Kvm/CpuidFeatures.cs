namespace Vmm.Devices.Kvm;

/// <summary>
/// Compares what a saved guest saw of its processor with what this host can give: a guest that goes on without a feature that it found at
/// its start dies of an invalid instruction. Names are those of Linux (<c>/proc/cpuinfo</c>).
/// </summary>
internal static class CpuidFeatures
{
    private enum Register
    {
        Eax,
        Ebx,
        Ecx,
        Edx,
    }

    /// <summary>Registers whose bits are features; names from bit 0 up, '-' for a bit without one.</summary>
    private static readonly (uint Function, uint Index, Register Register, string Names)[] Features =
    [
        (1, 0, Register.Ecx,
            "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic "
            + "movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor"),
        (1, 0, Register.Edx,
            "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss "
            + "ht tm ia64 pbe"),
        (7, 0, Register.Ebx,
            "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap "
            + "avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"),
        (7, 0, Register.Ecx,
            "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
            + "avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks"),
        (7, 0, Register.Edx,
            "- - avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig "
            + "arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl stibp flush_l1d arch_capabilities core_capabilities "
            + "ssbd"),
        (7, 1, Register.Eax,
            "- - - - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - fred lkgs - - amx_fp16 - avx_ifma - - lam"),
        (7, 1, Register.Edx,
            "- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - - - - - prefetchiti"),
        (0xd, 0, Register.Eax,
            "x87_state sse_state avx_state bndregs_state bndcsr_state opmask_state zmm_low_state zmm_high_state - pkru_state - - - "
            + "- - - - tilecfg_state tiledata_state"),
        (0xd, 1, Register.Eax,
            "xsaveopt xsavec xgetbv1 xsaves xfd"),
        (0x4000_0001, 0, Register.Eax,
            "kvmclock_old - mmu_op kvmclock async_pf steal_time pv_eoi pv_unhalt - pv_tlb_flush async_pf_vmexit pv_send_ipi "
            + "poll_control pv_sched_yield async_pf_int msi_ext_dest_id hc_map_gpa_range migration_control - - - - - - "
            + "kvmclock_stable"),
        (0x8000_0001, 0, Register.Ecx,
            "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - "
            + "nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"),
        (0x8000_0001, 0, Register.Edx,
            "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"),
        (0x8000_0007, 0, Register.Edx,
            "- - - - - - - - constant_tsc"),
        (0x8000_0008, 0, Register.Ebx,
            "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - amd_ibpb - amd_ibrs amd_stibp - amd_stibp_always_on - - - - - - "
            + "amd_ssbd virt_ssbd amd_ssb_no - amd_psfd"),
    ];

    /// <summary>Bits that follow what the guest has turned on (OSXSAVE, OSPKE), not what its processor has.</summary>
    private static readonly Dictionary<(uint, Register), uint> SetByGuest =
        new() { [(1, Register.Ecx)] = 1u << 27, [(7, Register.Ecx)] = 1u << 4 };

    /// <summary>What the saved guest has and this host cannot give; empty if it can go on here.</summary>
    internal static IReadOnlyList<string> Missing(IReadOnlyList<KvmCpuidEntry> saved, IReadOnlyList<KvmCpuidEntry> here)
    {
        List<string> missing = [];
        if (Vendor(saved) != Vendor(here)) missing.Add($"a processor of {Vendor(saved)} (this one is of {Vendor(here)})");
        foreach ((uint function, uint index, Register register, string names) in Features)
        {
            uint lost = Bits(saved, function, index, register) & ~Bits(here, function, index, register);
            lost &= ~SetByGuest.GetValueOrDefault((function, register));
            string[] each = names.Split(' ');
            for (int bit = 0; bit < 32; bit++)
            {
                if ((lost >> bit & 1) == 0) continue;
                missing.Add(bit < each.Length && each[bit] != "-" ? each[bit] : $"CPUID 0x{function:x}.{index} {register} bit {bit}");
            }
        }
        return missing;
    }

    private static uint Bits(IReadOnlyList<KvmCpuidEntry> entries, uint function, uint index, Register register) =>
        Find(entries, function, index) is not { } entry ? 0 : register switch
        {
            Register.Eax => entry.Eax,
            Register.Ebx => entry.Ebx,
            Register.Ecx => entry.Ecx,
            _ => entry.Edx,
        };

    private static string Vendor(IReadOnlyList<KvmCpuidEntry> entries)
    {
        if (Find(entries, 0, 0) is not { } entry) return "no vendor";
        Span<char> letters = stackalloc char[12];
        uint[] words = [entry.Ebx, entry.Edx, entry.Ecx];
        for (int i = 0; i < letters.Length; i++)
        {
            char letter = (char)(words[i / 4] >> (8 * (i % 4)) & 0x7f);
            letters[i] = char.IsAsciiLetterOrDigit(letter) ? letter : '?';
        }
        return new string(letters);
    }

    private static KvmCpuidEntry? Find(IReadOnlyList<KvmCpuidEntry> entries, uint function, uint index)
    {
        foreach (KvmCpuidEntry entry in entries)
        {
            if (entry.Function == function && entry.Index == index) return entry;
        }
        return null;
    }
}
