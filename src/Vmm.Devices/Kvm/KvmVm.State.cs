namespace Vmm.Devices.Kvm;

// The clock, and what the chips in the kernel hold.
public sealed partial class KvmVm
{
    private const string IoApicName = "io-apic", TimerName = "timer";

    private static readonly (string Name, uint Chip)[] Pics = [("primary-pic", PrimaryPic), ("secondary-pic", SecondaryPic)];

    /// <summary>The guest's clock: nanoseconds since its start. To have it stand, give it the same again.</summary>
    public ulong GetClock()
    {
        KvmClock clock = default;
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_CLOCK, ref clock), "KVM_GET_CLOCK");
        return clock.Nanoseconds;
    }

    /// <summary>Has the guest's clock go on from a time.</summary>
    public void SetClock(ulong nanoseconds)
    {
        KvmClock clock = new() { Nanoseconds = nanoseconds };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_SET_CLOCK, ref clock), "KVM_SET_CLOCK");
    }

    /// <summary>Saves the interrupt controllers, and the timer if there is one. Their wires are made by devices.</summary>
    /// <param name="record">Takes them.</param>
    /// <param name="legacy">Whether the VM has the chips of a PC: the two 8259 and the 8254.</param>
    public void SaveChips(StateWriter record, bool legacy)
    {
        ArgumentNullException.ThrowIfNull(record);
        SaveChip(record, IoApicName, IoApic);
        if (!legacy) return;
        foreach ((string name, uint chip) in Pics) SaveChip(record, name, chip);
        KvmPitState timer = default;
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_PIT2, ref timer), "KVM_GET_PIT2");
        record.Add(TimerName, KvmVcpuRecord.BytesOf(ref timer));
    }

    /// <summary>Gives the chips back what <see cref="SaveChips"/> took from them.</summary>
    /// <exception cref="StateException">Something is missing or has another size.</exception>
    public void RestoreChips(StateReader record, bool legacy)
    {
        ArgumentNullException.ThrowIfNull(record);
        RestoreChip(record, IoApicName, IoApic);
        if (!legacy) return;
        foreach ((string name, uint chip) in Pics) RestoreChip(record, name, chip);
        KvmPitState timer = KvmVcpuRecord.Read<KvmPitState>(record, TimerName);
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_SET_PIT2, ref timer), "KVM_SET_PIT2");
    }

    private void SaveChip(StateWriter record, string name, uint number)
    {
        KvmIrqChip chip = new() { Chip = number };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_GET_IRQCHIP, ref chip), "KVM_GET_IRQCHIP");
        record.Add(name, KvmVcpuRecord.BytesOf(ref chip.State));
    }

    private void RestoreChip(StateReader record, string name, uint number)
    {
        KvmIrqChip chip = new() { Chip = number, State = KvmVcpuRecord.Read<KvmBytes512>(record, name) };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_SET_IRQCHIP, ref chip), "KVM_SET_IRQCHIP");
    }
}
