using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Devices.Simulation;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>A guest that tries everything at the level of exits. Expected: a defined answer to each access, and a machine that goes on.</summary>
public sealed class KvmHostileTests
{
    private const uint Device = 0xd000_0000;
    private const int SweptPorts = 0x1_0000;

    [KvmTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public async Task Every_port_is_written_and_read_in_every_width(int width)
    {
        using KvmGuest guest = new();
        using ReactorThread reactor = new();
        RecordingDevice device = new((_, _) => 0x5a5a_5a5a);
        guest.Port.Add(0x3f8, 8, new Uart16550(new CountingLine()));
        guest.Port.Add(0x60, I8042Device.RangeLength, new I8042Device(() => { }));
        guest.Port.Add(0x70, CmosDevice.RangeLength, new CmosDevice());
        guest.Port.Add(0x600, AcpiPowerControl.RangeLength, new AcpiPowerControl(() => { }, () => { }));
        guest.Port.Add(0x1000, 16, device);
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.xor(edx, edx);
            c.Label(ref loop);
            c.mov(eax, -1);
            if (width == 1) c.@out(dx, al);
            if (width == 2) c.@out(dx, ax);
            if (width == 4) c.@out(dx, eax);
            if (width == 1) c.@in(al, dx);
            if (width == 2) c.@in(ax, dx);
            if (width == 4) c.@in(eax, dx);
            c.add(edi, eax);
            c.inc(edx);
            c.cmp(edx, SweptPorts);
            c.jne(loop);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal(SweptPorts, guest.Thread.ExitCount(VcpuExitKind.PortRead));
        Assert.Equal(SweptPorts, guest.Thread.ExitCount(VcpuExitKind.PortWrite));
        // Only accesses that lie wholly within the device reach it.
        Assert.Equal(16 - width + 1, device.Writes.Count);
        Assert.Equal(16 - width + 1, device.Reads.Count);
    }

    [KvmTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public async Task Every_register_address_is_written_and_read_in_every_width(int width)
    {
        using KvmGuest guest = new();
        using ReactorThread reactor = new();
        using CountingDevice virtio = new();
        using VirtioMmioTransport transport = new(virtio, guest.GuestMemory, new CountingLine(), reactor.Remote);
        guest.Mmio.Add(Device, VirtioMmioTransport.Length, transport);
        RecordingDevice neighbour = new();
        guest.Mmio.Add(Device + VirtioMmioTransport.Length, 64, neighbour);
        const uint Swept = (uint)VirtioMmioTransport.Length + 128;
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(rbx, Device);
            c.mov(ecx, Swept);
            c.mov(rax, -1);
            c.Label(ref loop);
            if (width == 1) c.mov(__byte_ptr[rbx], al);
            if (width == 2) c.mov(__word_ptr[rbx], ax);
            if (width == 4) c.mov(__dword_ptr[rbx], eax);
            if (width == 8) c.mov(__qword_ptr[rbx], rax);
            if (width == 1) c.mov(dl, __byte_ptr[rbx]);
            if (width == 2) c.mov(dx, __word_ptr[rbx]);
            if (width == 4) c.mov(edx, __dword_ptr[rbx]);
            if (width == 8) c.mov(rdx, __qword_ptr[rbx]);
            c.inc(rbx);
            c.dec(ecx);
            c.jnz(loop);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        // An access over the edge of a page comes as two; the edge of two devices lies on one.
        Assert.True(guest.Thread.ExitCount(VcpuExitKind.MmioWrite) >= Swept);
        Assert.All(neighbour.Writes, write => Assert.InRange(write.Offset + (ulong)write.Width, 1ul, 64ul));
        await transport.StopAsync();
    }

    [KvmFact]
    public async Task An_access_over_the_edge_of_two_devices_reaches_neither_in_part_of_its_width()
    {
        using KvmGuest guest = new();
        RecordingDevice first = new();
        RecordingDevice second = new();
        guest.Mmio.Add(Device, 6, first);
        guest.Mmio.Add(Device + 6, 6, second);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rbx, Device);
            c.mov(__dword_ptr[rbx + 4], 0x1234_5678);
            c.mov(eax, __dword_ptr[rbx + 4]);
            c.mov(__dword_ptr[KvmGuest.DataAddress], eax);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Empty(first.Writes);
        Assert.Empty(second.Writes);
        Assert.Equal(uint.MaxValue, guest.DataWord());
        Assert.Equal(2, guest.Thread.UnhandledExits);
    }

    [KvmFact]
    public async Task A_hole_of_memory_reads_as_ones_and_takes_no_writes()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(rbx, KvmGuest.MemoryBytes);
            c.Label(ref loop);
            c.mov(__qword_ptr[rbx], rbx);
            c.mov(rax, __qword_ptr[rbx]);
            c.and(__qword_ptr[KvmGuest.DataAddress], rax);
            c.add(rbx, 0x1_0000_0);
            c.cmp(rbx, 0x0800_0000);
            c.jb(loop);
            c.hlt();
        });
        guest.Memory.Slice(KvmGuest.DataAddress, 8).Fill(0xff);
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal(uint.MaxValue, guest.DataWord());
        Assert.True(guest.Thread.UnhandledExits > 0);
    }

    [KvmFact]
    public async Task While_one_vcpu_floods_exits_another_is_served()
    {
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using KvmVcpu flooder = guest.Vm.CreateVcpu(1);
        RecordingDevice answered = new();
        guest.Port.Add(0x500, 1, answered);
        guest.Assemble(EntryMode.Long, 0x2000, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(rbx, Device);
            c.Label(ref loop);
            c.mov(__dword_ptr[rbx], eax);
            c.jmp(loop);
        });
        guest.Load(EntryMode.Long, c =>
        {
            Label loop = c.CreateLabel();
            c.mov(ecx, 1000);
            c.mov(dx, 0x500);
            c.Label(ref loop);
            c.@out(dx, al);
            c.dec(ecx);
            c.jnz(loop);
            KvmGuest.TripleFault(c);
        });
        flooder.Enter(EntryMode.Long, guest.Memory, new KvmRegs { Rip = 0x2000, Rsp = KvmGuest.StackTop - 0x400 });
        flooder.SetRunnable();
        using VcpuThread flood = new(flooder, guest.Mmio, guest.Port, (_, _) => { });
        flood.Start();
        Assert.True(SpinWait.SpinUntil(() => flood.ExitCount(VcpuExitKind.MmioWrite) > 100, KvmGuest.Watchdog));
        long before = flood.ExitCount(VcpuExitKind.MmioWrite);
        Assert.Equal(VcpuEndReason.Shutdown, (await guest.RunToEnd()).Reason);
        Assert.Equal(1000, answered.Writes.Count);
        Assert.True(flood.ExitCount(VcpuExitKind.MmioWrite) > before);
        flood.RequestStop();
        Assert.True(flood.Join(KvmGuest.Watchdog));
    }
}
