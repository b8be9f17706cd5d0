using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.Kvm;

public sealed class KvmSystemTests
{
    [Fact]
    public void An_absent_device_file_is_told_in_one_sentence()
    {
        KvmUnavailableException refusal = Assert.Throws<KvmUnavailableException>(() => KvmSystem.Open("/dev/no-kvm-here"));
        Assert.Equal(KvmUnavailableReason.Absent, refusal.Reason);
        Assert.StartsWith("there is no KVM at '/dev/no-kvm-here': load the module", refusal.Message);
    }

    [Fact]
    public void A_device_file_that_is_not_KVM_is_told_in_one_sentence()
    {
        KvmUnavailableException refusal = Assert.Throws<KvmUnavailableException>(() => KvmSystem.Open("/dev/null"));
        Assert.Equal(KvmUnavailableReason.WrongVersion, refusal.Reason);
        Assert.Contains("'/dev/null' is not KVM", refusal.Message);
    }

    [Fact]
    public void A_directory_is_not_opened()
    {
        KvmUnavailableException refusal = Assert.Throws<KvmUnavailableException>(() => KvmSystem.Open("/dev"));
        Assert.Equal(KvmUnavailableReason.NotOpened, refusal.Reason);
    }

    [KvmFact]
    public void A_capability_that_is_not_there_is_named()
    {
        using KvmSystem system = KvmSystem.Open();
        KvmUnavailableException refusal = Assert.Throws<KvmUnavailableException>(() => system.Require((KvmCapability)100_000));
        Assert.Equal(KvmUnavailableReason.MissingCapability, refusal.Reason);
    }

    [KvmFact]
    public void Memory_slots_that_overlap_are_refused()
    {
        using KvmGuest guest = new();
        Assert.Throws<KernelException>(() => guest.Vm.SetMemorySlot(1, 0x1000, 0x1000, 0x10000));
        Assert.Throws<KernelException>(() => guest.Vm.SetMemorySlot(1, 0x1000_0001, 0x1000, 0x10000));
    }

    [KvmFact]
    public void A_vcpu_number_is_given_once()
    {
        using KvmGuest guest = new();
        Assert.Throws<KernelException>(() => guest.Vm.CreateVcpu(0));
    }
}
