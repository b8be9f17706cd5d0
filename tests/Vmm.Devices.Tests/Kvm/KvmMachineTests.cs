using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Iced.Intel;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Devices.Kvm;
using Vmm.Devices.Tests.VhostUser;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Whole machines on real KVM, with kernels of a few instructions.</summary>
public sealed class KvmMachineTests : IDisposable
{
    /// <summary>Where a vCPU is, in a message.</summary>
    private const string Place = "rip (?<rip>[0-9a-f]+), cr0 (?<cr0>[0-9a-f]+), cr2 [0-9a-f]+, cr3 (?<cr3>[0-9a-f]+), cr4 [0-9a-f]+, efer (?<efer>[0-9a-f]+), "
        + "(?<exception>no exception pending|exception \\d+ (injected|pending))";

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-machine-").FullName;
    private readonly List<DeviceHost> _hosts = [];
    private readonly MemoryStream _console = new();

    public void Dispose()
    {
        foreach (DeviceHost host in _hosts) host.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [KvmFact]
    public void A_pvh_kernel_speaks_and_powers_off()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            Say(c, "pvh ");
            // The magic number of the start info, which rbx points to: x5n3 backwards.
            c.mov(eax, __dword_ptr[ebx]);
            c.cmp(eax, 0x336e_c578);
            SayIfEqual(c, "handed over");
            PowerOff(c);
        }), pvh: true));
        Assert.Equal(MachineEnd.PoweredOff, result.End);
        Assert.Equal("pvh handed over", Console());
    }

    [KvmFact]
    public void A_64_bit_kernel_finds_its_zero_page()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(64, c =>
        {
            c.mov(eax, __dword_ptr[rsi + 0x202]);
            c.cmp(eax, 0x5372_6448);
            SayIfEqual(c, "zero page");
            PowerOff(c);
        }), pvh: false));
        Assert.Equal(MachineEnd.PoweredOff, result.End);
        Assert.Equal("zero page", Console());
    }

    [KvmFact]
    public void A_compressed_kernel_is_entered_in_64_bits()
    {
        MachineResult result = Run(BzImageFile.Of(KernelCode.Assemble(64, c =>
        {
            Say(c, "bzImage");
            PowerOff(c);
        }, BzImageFile.Entry)));
        Assert.Equal(MachineEnd.PoweredOff, result.End);
        Assert.Equal("bzImage", Console());
    }

    [KvmFact]
    public void The_guest_sees_a_hypervisor_and_its_processors()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(64, c =>
        {
            c.mov(eax, 1);
            c.cpuid();
            c.shr(ecx, 31);
            c.cmp(ecx, 1);
            SayIfEqual(c, "hypervisor ");
            c.mov(eax, 0xb);
            c.mov(ecx, 1);
            c.cpuid();
            c.cmp(ebx, 2);
            SayIfEqual(c, "two cores");
            PowerOff(c);
        }), pvh: false), vcpus: 2);
        Assert.Equal(MachineEnd.PoweredOff, result.End);
        Assert.Equal("hypervisor two cores", Console());
    }

    [KvmTheory]
    [InlineData(0x64, 0xfe)]
    [InlineData(0x602, AcpiPowerControl.ResetValue)]
    public void A_reset_ends_the_machine(int port, int value)
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(edx, port);
            c.mov(eax, value);
            c.@out(dx, al);
            KvmGuest.Spin(c);
        }), pvh: true));
        Assert.Equal(MachineEnd.Reset, result.End);
    }

    [KvmFact]
    public void A_jump_to_the_reset_vector_resets_the_machine()
    {
        using KvmGuest guest = new();
        bool reset = false;
        guest.Port.Add(0x600, AcpiPowerControl.RangeLength, new AcpiPowerControl(() => { }, () => reset = true));
        ResetVector.Code.CopyTo(guest.Memory[(int)ResetVector.Address..]);
        // jmp F000:FFF0
        guest.Load(EntryMode.Real, c => c.db(0xea, 0xf0, 0xff, 0x00, 0xf0));
        guest.Start();
        Assert.True(guest.Thread.Join(KvmGuest.Watchdog));
        Assert.True(reset);
    }

    [KvmFact]
    public void A_panic_that_is_told_ends_the_machine()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            Say(c, "oh");
            c.mov(edx, 0x505);
            c.mov(eax, (int)PanicEvents.Panicked);
            c.@out(dx, al);
            KvmGuest.Spin(c);
        }), pvh: true));
        Assert.Equal(MachineEnd.Panicked, result.End);
        Assert.Equal("oh", Console());
    }

    [KvmFact]
    public void A_triple_fault_ends_the_machine_with_a_sentence()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(32, c => c.ud2()), pvh: true));
        Assert.Equal(MachineEnd.TripleFault, result.End);
        Assert.StartsWith("vCPU 0 shut down after a triple fault", result.Message);
        Assert.Matches(Place, result.Message);
        Assert.EndsWith("last exits: Shutdown", result.Message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_kernel_that_jumps_into_nothing_fails_with_a_sentence()
    {
        MachineResult result = Run(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(eax, 0xe000_0000);
            c.jmp(eax);
        }), pvh: true));
        Assert.Equal(MachineEnd.Failed, result.End);
        Assert.Contains("could not emulate an instruction, at e0000000", result.Message);
        // In 32 bits, without paging.
        Assert.Matches(Place, result.Message);
        Match place = Regex.Match(result.Message, Place);
        Assert.Equal(("e0000000", "0", "0", "no exception pending"), (place.Groups["rip"].Value, place.Groups["cr3"].Value, place.Groups["efer"].Value, place.Groups["exception"].Value));
        Assert.Equal(1u, uint.Parse(place.Groups["cr0"].Value, NumberStyles.HexNumber, CultureInfo.InvariantCulture) & 0x8000_0001);
    }

    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_machine_that_crashed_and_is_kept_can_be_looked_at_until_it_is_stopped(bool tripleFault)
    {
        using CancellationTokenSource stop = new();
        RecordingLogs logs = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(__dword_ptr[Counter], 0x1234_5678);
            if (tripleFault)
            {
                c.ud2();
                return;
            }
            c.mov(eax, 0xe000_0000);
            c.jmp(eax);
        }), pvh: true), pauseOnCrash: true, logs: logs);
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        Assert.True(SpinWait.SpinUntil(() => logs.Logger.Lines.Any(line => line.Contains("the machine is kept as it is until it is stopped", StringComparison.Ordinal)),
            KvmGuest.Watchdog));
        Assert.False(run.IsCompleted);
        string place = machine.DescribeVcpu(0);
        Assert.Matches(Place, place);
        if (!tripleFault) Assert.StartsWith("rip e0000000, ", place);
        Assert.Equal(0x1234_5678u, Read(machine));
        await stop.CancelAsync();
        MachineResult result = await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken);
        Assert.Equal(tripleFault ? MachineEnd.TripleFault : MachineEnd.Failed, result.End);
    }

    /// <summary>What passes while the machine stands still is no time for its guest, and the guest's watchdog of hung processors is told (KVM_KVMCLOCK_CTRL).</summary>
    [KvmFact]
    public async Task The_guests_clock_stands_during_a_pause_and_its_page_says_so()
    {
        const uint ClockPage = 0x40_0000, SystemTimeMsr = 0x4b56_4d01;
        // struct pvclock_vcpu_time_info: its flags, PVCLOCK_GUEST_STOPPED.
        const int Flags = 29, GuestStopped = 2;
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(ecx, SystemTimeMsr);
            c.mov(eax, ClockPage | 1);
            c.xor(edx, edx);
            c.wrmsr();
            Count(c);
        }), pvh: true));
        KvmVm vm = ((KvmBoard)machine.Host.Board).Vm;
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        WaitForCount(machine);
        byte[] page = new byte[Flags + 1];
        bool SaysStopped() => machine.Host.Memory.TryRead(ClockPage, page) && (page[Flags] & GuestStopped) != 0;
        Assert.False(SaysStopped());

        long begin = Stopwatch.GetTimestamp();
        ulong before = vm.GetClock();
        machine.Pause();
        long paused = Stopwatch.GetTimestamp();
        Thread.Sleep(200);
        TimeSpan stood = Stopwatch.GetElapsedTime(paused);
        machine.Resume();
        TimeSpan passed = TimeSpan.FromMicroseconds((vm.GetClock() - before) / 1000), whole = Stopwatch.GetElapsedTime(begin);
        Assert.True(passed < whole - stood + TimeSpan.FromMilliseconds(20), $"of {whole}, {stood} of them paused, the guest's clock counted {passed}");
        Assert.True(SpinWait.SpinUntil(SaysStopped, KvmGuest.Watchdog), "the guest's clock does not say that it stood");
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).End);
    }

    [KvmFact]
    public async Task A_machine_is_stopped_by_its_host()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, Count), pvh: true));
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        WaitForCount(machine);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).End);
    }

    [KvmFact]
    public async Task A_paused_machine_stands_still_and_goes_on()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, Count), pvh: true), vcpus: 2);
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        for (int round = 0; round < 5; round++)
        {
            WaitForCount(machine);
            machine.Pause();
            uint paused = Read(machine);
            Thread.Sleep(20);
            Assert.Equal(paused, Read(machine));
            machine.Resume();
        }
        // Closely after one another: no thread may take a resume for the one before.
        for (int round = 0; round < 100; round++)
        {
            machine.Pause();
            machine.Resume();
        }
        WaitForCount(machine);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).End);
    }

    [KvmFact]
    public async Task A_paused_machine_can_be_stopped()
    {
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, Count), pvh: true));
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        WaitForCount(machine);
        machine.Pause();
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).End);
    }

    [KvmFact]
    public void What_can_not_be_made_is_refused_in_a_sentence()
    {
        byte[] kernel = ElfFile.Of([0xf4], pvh: true);
        Assert.Contains("there is no KVM", Assert.Throws<KvmUnavailableException>(() => Make(kernel, change: options => options with { KvmPath = "/nowhere" })).Message);
        Assert.Contains("1 to 64", Assert.Throws<ArgumentException>(() => Make(kernel, vcpus: 65)).Message);
        Assert.Contains("whole MiB", Assert.Throws<ArgumentException>(() => Make(kernel, change: options => options with { MemoryBytes = 1 })).Message);
        Assert.Contains("is no Linux kernel", Assert.Throws<BootException>(() => Make([1, 2, 3])).Message);
        Assert.Contains("without ACPI", Assert.Throws<ArgumentException>(() => Make(kernel, vcpus: 2, change: options => options with { Acpi = false })).Message);
    }

    [KvmFact]
    public void Without_acpi_the_devices_are_on_the_command_line()
    {
        using KvmMachine machine = Make(ElfFile.Of([0xf4], pvh: true), change: options => options with { Acpi = false }, devices: new CountingDevice());
        byte[] line = new byte[64];
        Assert.True(machine.Host.Memory.TryRead(BootLayout.CommandLine, line));
        Assert.StartsWith("console=ttyS0 virtio_mmio.device=4K@0xd0000000:5\0", Encoding.ASCII.GetString(line));
        byte[] tables = new byte[8];
        Assert.True(machine.Host.Memory.TryRead(BootLayout.AcpiTables, tables));
        Assert.Equal(new byte[8], tables);
    }

    [KvmFact]
    public async Task The_guest_gets_memory_and_loses_it_while_it_runs()
    {
        const ulong At = 1UL << 32;
        using CancellationTokenSource stop = new();
        using KvmMachine machine = Make(ElfFile.Of(KernelCode.Assemble(32, Count), pvh: true));
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        for (int round = 0; round < 3; round++)
        {
            WaitForCount(machine);
            GuestRegion region = GuestRegion.Create(At, 1 << 20);
            machine.Host.Board.Map(region);
            Assert.True(machine.Host.Memory.TryWrite(At, [1]));
            machine.Host.Board.Unmap(region);
            Assert.False(machine.Host.Memory.TryWrite(At, [1]));
        }
        using GuestRegion overlapping = GuestRegion.Create(0, 4096);
        Assert.Throws<ArgumentException>(() => machine.Host.Board.Map(overlapping));
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken)).End);
    }

    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_application_runs_a_machine_and_stops_when_its_guest_ends(bool guestEnds)
    {
        string path = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(path, ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            Say(c, "up");
            if (guestEnds) PowerOff(c);
            else Count(c);
        }), pvh: true));
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddKvmMachine(_ => new KvmMachineOptions { Boot = new BootSource(path), MemoryBytes = 16 << 20 })
            .AddVirtioEntropy("rng0")
            .AddSerial("ttyS0", port => port.Output = SerialOutput.To(_console));
        using IHost application = builder.Build();
        await application.StartAsync(TestContext.Current.CancellationToken);
        if (!guestEnds)
        {
            KvmMachine machine = application.Services.GetRequiredService<KvmMachine>();
            WaitForCount(machine);
            machine.Pause();
            machine.Resume();
            WaitForCount(machine);
            await application.StopAsync(TestContext.Current.CancellationToken);
        }
        await application.WaitForShutdownAsync(TestContext.Current.CancellationToken).WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken);
        Assert.Equal("up", Console());
    }

    private KvmMachine Make(byte[] kernel, int vcpus = 1, Func<KvmMachineOptions, KvmMachineOptions>? change = null, bool pauseOnCrash = false,
        ILoggerFactory? logs = null, params VirtioDevice[] devices)
    {
        string path = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(path, kernel);
        KvmMachineOptions options = new()
        {
            Boot = new BootSource(path),
            Vcpus = vcpus,
            MemoryBytes = 16 << 20,
        };
        DeviceHost host = new(new KvmBoard(change?.Invoke(options) ?? options), new DeviceHostOptions { Logging = logs ?? NullLoggerFactory.Instance }, devices);
        _hosts.Add(host);
        host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(_console) });
        return new KvmMachine(host) { PauseOnCrash = pauseOnCrash };
    }

    private MachineResult Run(byte[] kernel, int vcpus = 1)
    {
        using CancellationTokenSource watchdog = new(KvmGuest.Watchdog);
        using KvmMachine machine = Make(kernel, vcpus);
        return machine.Run(watchdog.Token);
    }

    private string Console() => Encoding.ASCII.GetString(_console.ToArray());

    private static void Count(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.Label(ref loop);
        c.inc(__dword_ptr[Counter]);
        c.jmp(loop);
    }

    private sealed class RecordingLogs : ILoggerFactory
    {
        internal RecordingLogger Logger { get; } = new();

        public ILogger CreateLogger(string categoryName) => Logger;

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public void Dispose()
        {
        }
    }
}
