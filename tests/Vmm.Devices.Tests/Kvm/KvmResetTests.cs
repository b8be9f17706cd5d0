using System.Text;
using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Machines on real KVM that start again, and whose power button is pressed, with kernels of a few instructions.</summary>
public sealed class KvmResetTests : IDisposable
{
    private const int Mark = 0x40_0000;
    private const int Boots = 3;
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-reset-").FullName;
    private readonly List<DeviceHost> _hosts = [];
    private readonly MemoryStream _console = new();

    private static CancellationToken End => TestContext.Current.CancellationToken;

    private string Kernel => Path.Combine(_directory, "kernel");

    public void Dispose()
    {
        foreach (DeviceHost host in _hosts) host.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [KvmTheory]
    [InlineData(0x64, 0xfe, 1, false)]
    [InlineData(0x602, AcpiPowerControl.ResetValue, 2, false)]
    [InlineData(0x602, AcpiPowerControl.ResetValue, 3, true)]
    public void A_guest_that_reboots_starts_again_as_from_power_on(int port, int value, int vcpus, bool inLongMode)
    {
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(inLongMode ? 64 : 32, c => Reboot(c, port, value)), pvh: !inLongMode),
            vcpus, startsAgain: true, new EntropyDevice("rng0"));
        using CancellationTokenSource watchdog = new(KvmGuest.Watchdog);
        Assert.Equal(new MachineResult(MachineEnd.PoweredOff, "the guest powered off"), machine.Run(watchdog.Token));
        Assert.Equal(string.Concat(Enumerable.Repeat("boot clean idle ", Boots)), Console());
        Assert.Equal(Boots - 1, machine.Resets);
    }

    [KvmFact]
    public async Task A_machine_is_reset_from_outside_again_and_again_paused_or_not()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(Counting, vcpus: 2);
        machine.PrepareResets();
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), End);
        for (int round = 0; round < 10; round++)
        {
            WaitForCount(machine);
            machine.Host.Memory.TryWrite(Mark, [1]);
            if (round % 2 != 0) machine.Pause();
            machine.Reset();
            byte[] mark = [1];
            Assert.True(machine.Host.Memory.TryRead(Mark, mark));
            Assert.Equal(0, mark[0]);
            if (round % 2 == 0) continue;
            Assert.True(machine.IsPaused);
            Assert.Equal(0u, Read(machine));
            machine.Resume();
        }
        WaitForCount(machine);
        Assert.Equal(10, machine.Resets);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, End)).End);
        Assert.Contains("has ended", Assert.Throws<InvalidOperationException>(machine.Reset).Message);
    }

    [KvmFact]
    public async Task A_machine_that_is_saved_and_reset_at_once_does_both()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(Counting);
        machine.PrepareResets();
        machine.PrepareSaves();
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), End);
        for (int round = 0; round < 5; round++)
        {
            WaitForCount(machine);
            Task<SnapshotResult> saving = machine.SaveAsync(Path.Combine(_directory, $"saved{round}"), cancel: End);
            machine.Reset();
            await saving;
            MachineSnapshot.Open(Path.Combine(_directory, $"saved{round}")).Verify();
        }
        WaitForCount(machine);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, End)).End);
    }

    [KvmFact]
    public async Task A_machine_whose_kernel_is_gone_ends_with_a_sentence()
    {
        using KvmMachine machine = Make(Counting);
        machine.PrepareResets();
        Task<MachineResult> run = Task.Run(() => machine.Run(), End);
        WaitForCount(machine);
        File.Delete(Kernel);
        Assert.Contains("there is no file", Assert.Throws<BootException>(machine.Reset).Message);
        MachineResult result = await run.WaitAsync(KvmGuest.Watchdog, End);
        Assert.Equal(MachineEnd.Failed, result.End);
        Assert.Contains("it can't start again: there is no file", result.Message);
    }

    [KvmFact]
    public void What_can_not_be_reset_or_switched_off_is_refused_in_a_sentence()
    {
        using KvmMachine machine = Make(Counting);
        Assert.Contains("not prepared", Assert.Throws<InvalidOperationException>(machine.Reset).Message);
        using KvmMachine plain = Make(Counting, acpi: false);
        Assert.Contains("without ACPI", Assert.Throws<NotSupportedException>(plain.PressPowerButton).Message);
    }

    [KvmFact]
    public async Task A_guest_without_acpi_starts_again_too()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(Counting, acpi: false);
        machine.PrepareResets();
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), End);
        WaitForCount(machine);
        machine.Reset();
        WaitForCount(machine);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, End)).End);
    }

    [KvmFact]
    public async Task A_guest_sees_that_its_power_button_is_pressed()
    {
        const uint ioApic = 0xfec0_0000, localApic = 0xfee0_0000, pin = MachinePorts.EventGsi, vector = 0x40;
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(eax, localApic + 0xf0);
            c.mov(__dword_ptr[eax], 0x1ff);
            c.mov(eax, ioApic);
            c.mov(__dword_ptr[eax], 0x11 + 2 * pin);
            c.mov(__dword_ptr[eax + 0x10], 0);
            c.mov(__dword_ptr[eax], 0x10 + 2 * pin);
            c.mov(__dword_ptr[eax + 0x10], vector);
            Say(c, "waits ");
            c.mov(__dword_ptr[Counter], 1);
            // No handler is needed: the request stays in the local APIC as long as interrupts are off.
            Label loop = c.CreateLabel();
            c.Label(ref loop);
            c.mov(eax, localApic + 0x200 + 0x10 * (vector / 32));
            c.test(__dword_ptr[eax], 1 << (int)(vector % 32));
            c.je(loop);
            for (int i = 0; i < 2; i++)
            {
                c.mov(edx, MachinePorts.Events + (int)MachineEvents.PowerOffset);
                c.@in(al, dx);
                c.add(al, (int)'0');
                c.mov(edx, 0x3f8);
                c.@out(dx, al);
            }
            Say(c, " pressed");
            PowerOff(c);
        }), pvh: true));
        Task<MachineResult> run = Task.Run(() => machine.Run(), End);
        Assert.True(SpinWait.SpinUntil(() => Read(machine) == 1, KvmGuest.Watchdog), "the guest does not wait");
        machine.PressPowerButton();
        Assert.Equal(MachineEnd.PoweredOff, (await run.WaitAsync(KvmGuest.Watchdog, End)).End);
        // Read once, it is over.
        Assert.Equal("waits 10 pressed", Console());
    }

    private static byte[] Counting => ElfFile.Of(KernelCode.Assemble(32, c =>
    {
        Label loop = c.CreateLabel();
        c.Label(ref loop);
        c.inc(__dword_ptr[Counter]);
        c.jmp(loop);
    }), pvh: true);

    /// <summary>Says that its memory is empty and its device has no driver, drives it, and resets; the third time it powers off.</summary>
    private static void Reboot(Assembler c, int port, int value)
    {
        const uint device = 0xd000_0000, status = device + 0x70;
        Say(c, "boot ");
        c.mov(eax, Mark);
        c.cmp(__dword_ptr[eax], 0);
        SayIfEqual(c, "clean ");
        c.mov(eax, Mark);
        c.mov(__dword_ptr[eax], 1);
        c.mov(eax, status);
        c.mov(ebx, __dword_ptr[eax]);
        c.cmp(ebx, 0);
        SayIfEqual(c, "idle ");
        // ACKNOWLEDGE, DRIVER, VERSION_1, FEATURES_OK, DRIVER_OK.
        foreach ((uint register, uint written) in ((uint, uint)[])[(status, 1), (status, 3), (device + 0x24, 1), (device + 0x20, 1), (status, 11), (status, 15)])
        {
            c.mov(eax, register);
            c.mov(__dword_ptr[eax], written);
        }
        // The memory of the clock is all that outlives a reset.
        Out(c, 0x70, 0x40);
        c.mov(edx, 0x71);
        c.@in(al, dx);
        c.inc(al);
        c.mov(ebx, eax);
        c.@out(dx, al);
        Label again = c.CreateLabel();
        c.and(ebx, 0xff);
        c.cmp(ebx, Boots);
        c.jne(again);
        PowerOff(c);
        c.Label(ref again);
        Out(c, port, value);
        KvmGuest.Spin(c);
    }

    private KvmMachine Make(byte[] kernel, int vcpus = 1, bool startsAgain = false, VirtioDevice? device = null, bool acpi = true)
    {
        File.WriteAllBytes(Kernel, kernel);
        KvmMachineOptions options = new() { Boot = new BootSource(Kernel), Vcpus = vcpus, MemoryBytes = 16 << 20, Acpi = acpi };
        DeviceHost host = device is null ? new(new KvmBoard(options)) : new(new KvmBoard(options), device);
        _hosts.Add(host);
        host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(_console) });
        return new KvmMachine(host) { StartsAgain = startsAgain };
    }

    private string Console() => Encoding.ASCII.GetString(_console.ToArray());
}
