namespace Vmm.Devices.Kvm;

// Registers, and snapshots of everything a vCPU is.
public sealed partial class KvmVcpu
{
    // A KVM before 6.x stops at the first register it can't give; asking for few at a time keeps what a refusal costs small.
    private const int MsrsPerCall = 64;

    internal const uint TimeStampCounter = 0x10;
    private const uint TscDeadline = 0x6e0;

    /// <summary>struct kvm_xsave, without what a guest with larger registers adds.</summary>
    private const int XsaveBytes = 4096;

    /// <summary>struct kvm_nested_state without its data.</summary>
    private const int NestedHeaderBytes = 128;

    /// <summary>The general registers. The vCPU does not run.</summary>
    public KvmRegs GetRegisters() => Get<KvmRegs>(KvmRequest.KVM_GET_REGS, nameof(KvmRequest.KVM_GET_REGS));

    /// <summary>Sets the general registers. The vCPU does not run.</summary>
    /// <exception cref="KernelException">KVM refuses them.</exception>
    public void SetRegisters(in KvmRegs value) => Set(KvmRequest.KVM_SET_REGS, value, nameof(KvmRequest.KVM_SET_REGS));

    /// <summary>The system registers. The vCPU does not run.</summary>
    public KvmSregs GetSystemRegisters() => Get<KvmSregs>(KvmRequest.KVM_GET_SREGS, nameof(KvmRequest.KVM_GET_SREGS));

    /// <summary>Sets the system registers. The vCPU does not run.</summary>
    /// <exception cref="KernelException">KVM refuses them: no processor can be in that mode.</exception>
    public void SetSystemRegisters(in KvmSregs value) => Set(KvmRequest.KVM_SET_SREGS, value, nameof(KvmRequest.KVM_SET_SREGS));

    internal KvmMpState GetMpState() => Get<KvmMpState>(KvmRequest.KVM_GET_MP_STATE, nameof(KvmRequest.KVM_GET_MP_STATE));

    /// <summary>Lets a vCPU that waits to be started run from the registers it has.</summary>
    public void SetRunnable() =>
        Set(KvmRequest.KVM_SET_MP_STATE, new KvmMpState { State = KvmMpState.Runnable }, nameof(KvmRequest.KVM_SET_MP_STATE));

    internal KvmLapicState GetLapic() => Get<KvmLapicState>(KvmRequest.KVM_GET_LAPIC, nameof(KvmRequest.KVM_GET_LAPIC));

    internal void SetLapic(in KvmLapicState value) => Set(KvmRequest.KVM_SET_LAPIC, value, nameof(KvmRequest.KVM_SET_LAPIC));

    /// <summary>Says what the guest sees when it asks its processor what it is. Before the vCPU first runs.</summary>
    /// <param name="entries">Of those that <see cref="KvmSystem.GetSupportedCpuid"/> gives, as they are or with less in them.</param>
    public void SetCpuid(KvmCpuidEntry[] entries)
    {
        ArgumentNullException.ThrowIfNull(entries);
        KvmCountHead head = new() { Count = (uint)entries.Length };
        Check(KvmCall.Control(_number, KvmRequest.KVM_SET_CPUID2, ref head, entries), nameof(KvmRequest.KVM_SET_CPUID2));
    }

    /// <summary>Sets model-specific registers.</summary>
    /// <exception cref="KernelException">KVM does not have one of them, or refuses its value.</exception>
    public void SetMsrs(ReadOnlySpan<KvmMsrEntry> entries)
    {
        int set = TrySetMsrs(entries);
        if (set < entries.Length)
            throw new KernelException($"cannot set model-specific register {entries[set].Index:x} of vCPU {Index}", Errno.Invalid);
    }

    /// <summary>The kilohertz of the guest's time stamp counter; 0 if KVM does not know.</summary>
    internal uint TscKilohertz => (uint)Math.Max(0, KvmCall.Control(_number, KvmRequest.KVM_GET_TSC_KHZ));

    /// <summary>Everything the vCPU is, to be given back to this or a like one. It does not run, and its last access is complete.</summary>
    public KvmVcpuState Save() => Save(_system.GetMsrIndices());

    /// <inheritdoc cref="Save()"/>
    internal KvmVcpuState Save(ReadOnlySpan<uint> msrIndices) => new()
    {
        // The order matters: reading the run state settles pending start-up messages, which change the events and the local APIC.
        MpState = GetMpState(),
        Registers = GetRegisters(),
        SystemRegisters = GetSystemRegisters(),
        Xsave = GetXsave(),
        Xcrs = Get<KvmXcrs>(KvmRequest.KVM_GET_XCRS, nameof(KvmRequest.KVM_GET_XCRS)),
        DebugRegisters = Get<KvmDebugRegs>(KvmRequest.KVM_GET_DEBUGREGS, nameof(KvmRequest.KVM_GET_DEBUGREGS)),
        Lapic = TryGet(KvmRequest.KVM_GET_LAPIC, out KvmLapicState lapic) ? lapic : null,
        Msrs = GetMsrs(msrIndices),
        Nested = GetNested(),
        Events = Get<KvmVcpuEvents>(KvmRequest.KVM_GET_VCPU_EVENTS, nameof(KvmRequest.KVM_GET_VCPU_EVENTS)),
    };

    /// <summary>Makes the vCPU what it was when <see cref="Save()"/> was called. Its CPUID is set already.</summary>
    /// <returns>The model-specific registers that hold something else now: KVM did not take their values.</returns>
    /// <exception cref="KernelException">KVM refuses a part of it.</exception>
    public IReadOnlyList<uint> Restore(KvmVcpuState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        // System registers before the local APIC (its mode is in them); that before the MSRs, one of which is the deadline of its timer,
        // lost unless the timer is in that mode; registers before events, the run state last.
        SetSystemRegisters(state.SystemRegisters);
        SetRegisters(state.Registers);
        Set(KvmRequest.KVM_SET_XCRS, state.Xcrs, nameof(KvmRequest.KVM_SET_XCRS));
        SetXsave(state.Xsave);
        Set(KvmRequest.KVM_SET_DEBUGREGS, state.DebugRegisters, nameof(KvmRequest.KVM_SET_DEBUGREGS));
        if (state.Lapic is { } lapic) SetLapic(lapic);
        IReadOnlyList<uint> refused = RestoreMsrs(state.Msrs);
        if (state.Nested is { } nested)
            Check(KvmCall.Control(_number, KvmRequest.KVM_SET_NESTED_STATE, nested.AsSpan()), nameof(KvmRequest.KVM_SET_NESTED_STATE));
        Set(KvmRequest.KVM_SET_VCPU_EVENTS, state.Events, nameof(KvmRequest.KVM_SET_VCPU_EVENTS));
        Set(KvmRequest.KVM_SET_MP_STATE, state.MpState, nameof(KvmRequest.KVM_SET_MP_STATE));
        return refused;
    }

    /// <summary>Has the guest's time stamp counter run at a speed, by scaling if the host's has another.</summary>
    /// <exception cref="KernelException">The processor can't scale it.</exception>
    internal void SetTscKilohertz(uint kilohertz)
    {
        if (KvmCall.Control(_number, KvmRequest.KVM_SET_TSC_KHZ, (nuint)kilohertz) < 0)
            throw new KernelException($"the guest's time stamp counter runs at {kilohertz} kHz, this host's at {TscKilohertz} kHz, and its "
                + "processor cannot scale it", CallResult.LastError, "restore it on a host with the same processor");
    }

    /// <summary>
    /// Where the vCPU is, for a message: instruction, control registers, EFER and a pending exception. On the vCPU's own thread, or
    /// while it stands still.
    /// </summary>
    internal string DescribePlace()
    {
        try
        {
            KvmSregs system = GetSystemRegisters();
            KvmVcpuEvents events = Get<KvmVcpuEvents>(KvmRequest.KVM_GET_VCPU_EVENTS, nameof(KvmRequest.KVM_GET_VCPU_EVENTS));
            string code = events[2] != 0 ? $", error code {BitConverter.ToUInt32(events[4..8]):x}" : "";
            string exception = (events[0] | events[3]) == 0 ? "no exception pending"
                : $"exception {events[1]} {(events[0] != 0 ? "injected" : "pending")}{code}";
            return $"rip {GetRegisters().Rip:x}, cr0 {system.Cr0:x}, cr2 {system.Cr2:x}, cr3 {system.Cr3:x}, cr4 {system.Cr4:x}, "
                + $"efer {system.Efer:x}, {exception}";
        }
        catch (KernelException refused)
        {
            return $"its registers can't be read: {refused.Message}";
        }
    }

    /// <summary>Marks the guest's clock as stopped, so that its watchdog for hung processors does not bark.</summary>
    internal void MarkPaused() => _ = KvmCall.Control(_number, KvmRequest.KVM_KVMCLOCK_CTRL);

    /// <summary>Model-specific registers. The vCPU does not run.</summary>
    /// <param name="indices">Their numbers; one that this guest's processor does not have is left out of the answer.</param>
    public KvmMsrEntry[] GetMsrs(ReadOnlySpan<uint> indices)
    {
        List<KvmMsrEntry> all = [];
        for (int i = 0; i < indices.Length;)
        {
            KvmMsrEntry[] some = new KvmMsrEntry[Math.Min(MsrsPerCall, indices.Length - i)];
            for (int j = 0; j < some.Length; j++) some[j].Index = indices[i + j];
            KvmCountHead head = new() { Count = (uint)some.Length };
            int got = KvmCall.Control(_number, KvmRequest.KVM_GET_MSRS, ref head, some);
            Check(got, nameof(KvmRequest.KVM_GET_MSRS));
            all.AddRange(some.AsSpan(0, got));
            // The one it stopped at is listed but not given by this guest's processor.
            i += got < some.Length ? got + 1 : got;
        }
        return [.. all];
    }

    private List<uint> RestoreMsrs(KvmMsrEntry[] entries)
    {
        // The time stamp counter first, and the deadline that is compared with it last.
        KvmMsrEntry[] sorted = [.. entries.OrderBy(entry => entry.Index switch { TimeStampCounter => 0, TscDeadline => 2, _ => 1 })];
        List<uint> refused = [];
        for (int i = 0; i < sorted.Length;)
        {
            i += TrySetMsrs(sorted.AsSpan(i));
            // One that can be read but not written holds what it must, or something is lost.
            if (i < sorted.Length && (GetMsrs([sorted[i].Index]) is not [KvmMsrEntry now] || now.Data != sorted[i].Data))
                refused.Add(sorted[i].Index);
            i++;
        }
        return refused;
    }

    private byte[] GetXsave()
    {
        byte[] state = new byte[XsaveLength];
        uint request = state.Length > XsaveBytes ? KvmRequest.KVM_GET_XSAVE2 : KvmRequest.KVM_GET_XSAVE;
        Check(KvmCall.Control(_number, request, state.AsSpan()), nameof(KvmRequest.KVM_GET_XSAVE));
        return state;
    }

    private void SetXsave(byte[] state)
    {
        int length = XsaveLength;
        if (state.Length < XsaveBytes || state.AsSpan(Math.Min(length, state.Length)).ContainsAnyExcept((byte)0))
            throw new StateException($"the extended state of vCPU {Index} has {state.Length} bytes: this host's processor takes {length}");
        // The kernel reads as much as it gives.
        Array.Resize(ref state, length);
        Check(KvmCall.Control(_number, KvmRequest.KVM_SET_XSAVE, state.AsSpan()), nameof(KvmRequest.KVM_SET_XSAVE));
    }

    private int XsaveLength => Math.Max(XsaveBytes, _system.Check(KvmCapability.Xsave2));

    /// <summary>What a guest that is a hypervisor itself has in the processor; null if this KVM does not give it.</summary>
    private byte[]? GetNested()
    {
        int length = _system.Check(KvmCapability.NestedState);
        if (length < NestedHeaderBytes) return null;
        byte[] state = new byte[length];
        // struct kvm_nested_state: 16 bits of flags, 16 of a format, then 32 of a size, which says how much room there is.
        BitConverter.TryWriteBytes(state.AsSpan(sizeof(uint)), length);
        if (KvmCall.Control(_number, KvmRequest.KVM_GET_NESTED_STATE, state.AsSpan()) < 0) return null;
        return state[..Math.Clamp(BitConverter.ToInt32(state, sizeof(uint)), NestedHeaderBytes, length)];
    }

    private int TrySetMsrs(ReadOnlySpan<KvmMsrEntry> entries)
    {
        int done = 0;
        while (done < entries.Length)
        {
            KvmMsrEntry[] some = entries.Slice(done, Math.Min(MsrsPerCall, entries.Length - done)).ToArray();
            KvmCountHead head = new() { Count = (uint)some.Length };
            int set = KvmCall.Control(_number, KvmRequest.KVM_SET_MSRS, ref head, some);
            Check(set, nameof(KvmRequest.KVM_SET_MSRS));
            done += set;
            if (set < some.Length) break;
        }
        return done;
    }

    private bool TryGet<T>(uint request, out T value) where T : unmanaged
    {
        value = default;
        return KvmCall.Control(_number, request, ref value) >= 0;
    }

    private T Get<T>(uint request, string name) where T : unmanaged
    {
        T value = default;
        Check(KvmCall.Control(_number, request, ref value), name);
        return value;
    }

    private void Set<T>(uint request, T value, string name) where T : unmanaged =>
        Check(KvmCall.Control(_number, request, ref value), name);

    private void Check(int result, string name)
    {
        if (result < 0) throw new KernelException($"{name} of vCPU {Index}", CallResult.LastError);
    }
}
