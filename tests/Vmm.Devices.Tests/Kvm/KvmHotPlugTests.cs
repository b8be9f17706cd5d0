using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>
/// Devices that come and go while a machine on real KVM runs, with kernels of a few instructions. What the process holds is counted, so these
/// run alone.
/// </summary>
[Collection(Alone.Name)]
public sealed class KvmHotPlugTests : IDisposable
{
    private const int Seen = 0x30_0000;
    private const uint Status = 0xd000_0070;
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-plug-").FullName;
    private readonly List<DeviceHost> _hosts = [];
    private readonly CancellationTokenSource _stop = new();
    private Task<MachineResult>? _run;

    private static CancellationToken End => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _stop.Cancel();
        _run?.Wait(KvmGuest.Watchdog);
        foreach (DeviceHost host in _hosts) host.Dispose();
        _stop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [KvmFact]
    public async Task A_guest_sees_which_places_have_a_device()
    {
        using KvmMachine machine = Start(Look, new EntropyDevice("rng0"));
        WaitFor(machine, 0b1);
        HostedDevice second = machine.Plug("rng1", new EntropySpec()), third = machine.Plug("rng2", new EntropySpec());
        WaitFor(machine, 0b111);
        // No driver has it.
        await machine.UnplugAsync(second, End).WaitAsync(KvmGuest.Watchdog, End);
        WaitFor(machine, 0b101);
        Assert.Equal(["rng0", "rng2"], machine.Host.Devices.Select(hosted => hosted.Device.Name));
        Assert.Equal(second.Address, machine.Plug("rng1", new EntropySpec()).Address);
        WaitFor(machine, 0b111);
        await Assert.ThrowsAsync<ArgumentException>(() => machine.UnplugAsync(second, End));
        await machine.UnplugAsync(third, End).WaitAsync(KvmGuest.Watchdog, End);
        WaitFor(machine, 0b11);
    }

    [KvmFact]
    public async Task A_device_goes_when_the_guest_has_let_go_of_it_and_stays_when_it_does_not()
    {
        using KvmMachine machine = Start(c =>
        {
            // ACKNOWLEDGE and DRIVER, and it holds on until the place says that the device is gone and this program allows that.
            c.mov(eax, Status);
            c.mov(__dword_ptr[eax], 1);
            c.mov(__dword_ptr[eax], 3);
            Label loop = c.CreateLabel();
            c.Label(ref loop);
            Read(c);
            c.test(eax, 1);
            c.jne(loop);
            c.cmp(__dword_ptr[Seen + 4], 0);
            c.je(loop);
            c.mov(eax, Status);
            // As Linux does: a reset, and it acknowledges the device again.
            c.mov(__dword_ptr[eax], 0);
            c.mov(__dword_ptr[eax], 1);
            c.jmp(loop);
        }, new EntropyDevice("rng0"));
        WaitFor(machine, 0b1);
        HostedDevice first = machine.Host.Devices[0];
        using CancellationTokenSource patience = new();
        Task stays = machine.UnplugAsync(first, patience.Token);
        WaitFor(machine, 0);
        Assert.False(stays.IsCompleted);
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stays);
        WaitFor(machine, 0b1);
        Assert.Equal(first, Assert.Single(machine.Host.Devices));

        Task goes = machine.UnplugAsync(first, End);
        WaitFor(machine, 0);
        Assert.True(machine.Host.Memory.TryWrite(Seen + 4, [1]));
        await goes.WaitAsync(KvmGuest.Watchdog, End);
        Assert.Empty(machine.Host.Devices);
    }

    [KvmFact]
    public async Task A_device_stays_until_its_driver_acknowledged_it_after_the_reset()
    {
        const uint queueReady = 0xd000_0044;
        using KvmMachine machine = Start(c =>
        {
            c.mov(eax, Status);
            c.mov(__dword_ptr[eax], 1);
            c.mov(__dword_ptr[eax], 3);
            Label loop = c.CreateLabel(), reads = c.CreateLabel(), end = c.CreateLabel();
            c.Label(ref loop);
            Read(c);
            c.test(eax, 1);
            c.jne(loop);
            // As Linux does, which deletes the queues between the reset and the acknowledgement, but for longer than the host looks away.
            c.mov(eax, Status);
            c.mov(__dword_ptr[eax], 0);
            c.xor(edi, edi);
            c.mov(ecx, 3000);
            c.mov(esi, queueReady);
            c.Label(ref reads);
            c.or(edi, __dword_ptr[esi]);
            c.dec(ecx);
            c.jne(reads);
            c.mov(__dword_ptr[eax], 1);
            c.mov(__dword_ptr[Seen + 8], edi);
            c.mov(__dword_ptr[Seen + 12], 1);
            c.Label(ref end);
            c.jmp(end);
        }, new EntropyDevice("rng0"));
        WaitFor(machine, 0b1);
        await machine.UnplugAsync(machine.Host.Devices[0], End).WaitAsync(KvmGuest.Watchdog, End);
        byte[] read = new byte[2 * sizeof(uint)];
        Assert.True(SpinWait.SpinUntil(() => machine.Host.Memory.TryRead(Seen + 8, read) && read[sizeof(uint)] == 1, KvmGuest.Watchdog));
        // Where no device is, all bits are set.
        Assert.Equal(0u, BitConverter.ToUInt32(read));
    }

    [KvmFact]
    public async Task Hundreds_of_devices_come_and_go_and_leave_nothing()
    {
        using KvmMachine machine = Start(Look);
        await ComeAndGo(1);
        int before = Directory.GetFileSystemEntries("/proc/self/fd").Length;
        await ComeAndGo(100);
        Assert.InRange(Directory.GetFileSystemEntries("/proc/self/fd").Length, 0, before + 3);
        List<HostedDevice> all = [];
        for (int i = 0; i < KvmBoard.DevicesMax; i++) all.Add(machine.Plug($"rng{i}", new EntropySpec()));
        Assert.Contains("no room", Assert.Throws<ArgumentException>(() => machine.Plug("more", new EntropySpec())).Message);
        WaitFor(machine, (1 << KvmBoard.DevicesMax) - 1);

        async Task ComeAndGo(int times)
        {
            for (int i = 0; i < times; i++)
                await machine.UnplugAsync(machine.Plug("rng", new EntropySpec()), End).WaitAsync(KvmGuest.Watchdog, End);
        }
    }

    [KvmFact]
    public void A_machine_without_acpi_takes_none()
    {
        using KvmMachine machine = Make(Look, acpi: false);
        Assert.False(machine.TakesDevices);
        Assert.Contains("without ACPI", Assert.Throws<NotSupportedException>(() => machine.Plug("rng", new EntropySpec())).Message);
        Assert.Empty(machine.Host.Devices);
    }

    [KvmFact]
    public async Task What_came_later_is_there_after_a_reset_and_after_a_snapshot()
    {
        string saved = Path.Combine(_directory, "saved");
        using KvmMachine machine = Start(Look, prepares: true);
        machine.Plug("rng0", new EntropySpec());
        WaitFor(machine, 0b1);
        machine.Reset();
        WaitFor(machine, 0b1);
        machine.Plug("rng1", new EntropySpec());
        WaitFor(machine, 0b11);
        await machine.SaveAsync(saved, cancel: End);

        DeviceHost host = new(new KvmBoard(KvmMachineOptions.GoingOn(MachineSnapshot.Open(saved))), new EntropyDevice("rng0"), new EntropyDevice("rng1"));
        _hosts.Add(host);
        using KvmMachine other = new(host);
        Assert.True(other.TakesDevices);
        Assert.Contains("restore it anew", Assert.Throws<InvalidOperationException>(other.Reset).Message);
        using CancellationTokenSource stop = new();
        Task<MachineResult> run = Task.Run(() => other.Run(stop.Token), End);
        WaitFor(other, 0b11);
        other.Plug("rng2", new EntropySpec());
        WaitFor(other, 0b111);
        await stop.CancelAsync();
        await run.WaitAsync(KvmGuest.Watchdog, End);
    }

    [KvmFact]
    public async Task A_snapshot_with_an_empty_place_between_two_devices_goes_on_with_each_where_it_was()
    {
        string saved = Path.Combine(_directory, "saved");
        using KvmMachine machine = Start(Look, new EntropyDevice("rng0"));
        HostedDevice middle = machine.Plug("rng1", new EntropySpec());
        HostedDevice last = machine.Plug("rng2", new EntropySpec());
        await machine.UnplugAsync(middle, End).WaitAsync(KvmGuest.Watchdog, End);
        WaitFor(machine, 0b101);
        await machine.SaveAsync(saved, cancel: End);
        MachineSnapshot snapshot = MachineSnapshot.Open(saved);
        Assert.Equal(["rng0", "rng2"], snapshot.DeviceNames);

        // Given in another order, even.
        DeviceHost host = new(new KvmBoard(KvmMachineOptions.GoingOn(snapshot)), new EntropyDevice("rng2"), new EntropyDevice("rng0"));
        _hosts.Add(host);
        using KvmMachine other = new(host);
        Assert.Equal(last.Address, host.Devices[0].Address);
        using CancellationTokenSource stop = new();
        Task<MachineResult> run = Task.Run(() => other.Run(stop.Token), End);
        WaitFor(other, 0b101);
        Assert.Equal(middle.Address, other.Plug("rng1", new EntropySpec()).Address);
        WaitFor(other, 0b111);
        await stop.CancelAsync();
        await run.WaitAsync(KvmGuest.Watchdog, End);

        DeviceHost wrong = new(new KvmBoard(KvmMachineOptions.GoingOn(snapshot)), new EntropyDevice("rng0"), new EntropyDevice("rng1"));
        _hosts.Add(wrong);
        StateException refused = Assert.Throws<StateException>(() => new KvmMachine(wrong));
        Assert.Contains("'rng2'", refused.Message);
    }

    /// <summary>Looks again and again.</summary>
    private static void Look(Assembler c)
    {
        Label loop = c.CreateLabel();
        c.Label(ref loop);
        Read(c);
        c.jmp(loop);
    }

    private static void Read(Assembler c)
    {
        c.mov(edx, (int)MachinePorts.Events);
        c.@in(eax, dx);
        // One more, so that no device is told from nothing seen.
        c.mov(ebx, eax);
        c.inc(ebx);
        c.mov(__dword_ptr[Seen], ebx);
    }

    private KvmMachine Make(Action<Assembler> write, bool acpi = true, params VirtioDevice[] devices)
    {
        string path = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(path, ElfFile.Of(KernelCode.Assemble(32, write), pvh: true));
        DeviceHost host = new(new KvmBoard(new KvmMachineOptions { Boot = new BootSource(path), MemoryBytes = 16 << 20, Acpi = acpi }), devices);
        _hosts.Add(host);
        return new KvmMachine(host);
    }

    private KvmMachine Start(Action<Assembler> write, VirtioDevice? device = null, bool prepares = false)
    {
        KvmMachine machine = Make(write, devices: device is null ? [] : [device]);
        if (prepares) machine.PrepareResets();
        _run = Task.Run(() => machine.Run(_stop.Token), End);
        return machine;
    }

    private static void WaitFor(KvmMachine machine, int present)
    {
        byte[] seen = new byte[4];
        Assert.True(SpinWait.SpinUntil(() => machine.Host.Memory.TryRead(Seen, seen) && BitConverter.ToUInt32(seen) == (uint)present + 1, KvmGuest.Watchdog),
            $"the guest sees {BitConverter.ToUInt32(seen) - 1:b}, not {present:b}");
    }
}
