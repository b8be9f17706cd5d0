namespace Vmm.Devices.Kvm;

/// <summary>What firmware leaves in model-specific registers and in the local APIC, and a kernel expects.</summary>
internal static class BootMsrs
{
    private const uint MiscEnable = 0x1a0;
    private const ulong FastStrings = 1;
    private const uint MtrrDefaultType = 0x2ff;
    private const ulong MtrrEnabledWriteBack = (1 << 11) | 6;
    private const int LocalVector0 = 0x350;
    private const int LocalVector1 = 0x360;
    private const byte DeliverExternal = 7;
    private const byte DeliverNmi = 4;

    internal static void Set(KvmVcpu vcpu)
    {
        vcpu.SetMsrs(
        [
            new KvmMsrEntry { Index = MiscEnable, Data = FastStrings },
            new KvmMsrEntry { Index = MtrrDefaultType, Data = MtrrEnabledWriteBack },
        ]);
        // Interrupt pin 0 carries the 8259, pin 1 the non-maskable interrupt (MultiProcessor Specification § 3.6.2.2). The mode is in bits
        // 8 to 10.
        KvmLapicState lapic = vcpu.GetLapic();
        lapic[LocalVector0 + 1] = (byte)((lapic[LocalVector0 + 1] & ~7) | DeliverExternal);
        lapic[LocalVector1 + 1] = (byte)((lapic[LocalVector1 + 1] & ~7) | DeliverNmi);
        vcpu.SetLapic(lapic);
    }
}
