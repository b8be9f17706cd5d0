using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

public sealed class KvmExitTests
{
    private const ushort Serial = 0x3f8;
    private const uint Device = 0xd000_0000;

    [KvmTheory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Serial_output_arrives_in_every_mode(int mode)
    {
        using KvmGuest guest = new();
        RecordingDevice serial = new();
        guest.Port.Add(Serial, 8, serial);
        guest.Load((EntryMode)mode, c =>
        {
            c.mov(dx, Serial);
            foreach (char letter in "hello")
            {
                c.mov(al, (byte)letter);
                c.@out(dx, al);
            }
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal("hello", serial.Text);
        Assert.Equal(5, guest.Thread.ExitCount(VcpuExitKind.PortWrite));
    }

    [KvmFact]
    public async Task Memory_mapped_writes_arrive_with_their_width_and_value()
    {
        using KvmGuest guest = new();
        RecordingDevice device = new();
        guest.Mmio.Add(Device, 0x1000, device);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rbx, Device);
            c.mov(rax, 0x1122_3344_5566_7788);
            c.mov(__byte_ptr[rbx + 0x10], al);
            c.mov(__word_ptr[rbx + 0x20], ax);
            c.mov(__dword_ptr[rbx + 0x30], eax);
            c.mov(__qword_ptr[rbx + 0x40], rax);
            c.mov(__dword_ptr[rbx + 0x51], eax);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal(
            [(0x10, 1, 0x88), (0x20, 2, 0x7788), (0x30, 4, 0x5566_7788), (0x40, 8, 0x1122_3344_5566_7788), (0x51, 4, 0x5566_7788)],
            device.Writes);
    }

    [KvmFact]
    public async Task Memory_mapped_reads_are_answered_in_every_width()
    {
        using KvmGuest guest = new();
        RecordingDevice device = new((_, _) => 0x8877_6655_4433_2211);
        guest.Mmio.Add(Device, 0x1000, device);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rbx, Device);
            c.mov(rdi, KvmGuest.DataAddress);
            c.xor(eax, eax);
            c.mov(al, __byte_ptr[rbx]);
            c.mov(__qword_ptr[rdi], rax);
            c.xor(eax, eax);
            c.mov(ax, __word_ptr[rbx + 8]);
            c.mov(__qword_ptr[rdi + 8], rax);
            c.mov(eax, __dword_ptr[rbx + 16]);
            c.mov(__qword_ptr[rdi + 16], rax);
            c.mov(rax, __qword_ptr[rbx + 24]);
            c.mov(__qword_ptr[rdi + 24], rax);
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal([(0, 1), (8, 2), (16, 4), (24, 8)], device.Reads);
        ulong[] read = new ulong[4];
        for (int i = 0; i < read.Length; i++) read[i] = BitConverter.ToUInt64(guest.Memory[(KvmGuest.DataAddress + 8 * i)..]);
        Assert.Equal([0x11, 0x2211, 0x4433_2211, 0x8877_6655_4433_2211], read);
    }

    [KvmTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public async Task String_output_reaches_one_port_in_order(int width)
    {
        const int Count = 1000;
        using KvmGuest guest = new();
        RecordingDevice port = new();
        guest.Port.Add(0x500, 4, port);
        for (int i = 0; i < Count * width; i++) guest.Memory[KvmGuest.DataAddress + i] = (byte)(i * 7 + i / 256);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rsi, KvmGuest.DataAddress);
            c.mov(ecx, Count);
            c.mov(dx, 0x500);
            if (width == 1) c.rep.outsb();
            if (width == 2) c.rep.outsw();
            if (width == 4) c.rep.outsd();
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal(Count, port.Writes.Count);
        for (int i = 0; i < Count; i++)
        {
            ulong expected = 0;
            for (int j = 0; j < width; j++) expected |= (ulong)guest.Memory[KvmGuest.DataAddress + i * width + j] << (8 * j);
            Assert.Equal((0ul, width, expected), port.Writes[i]);
        }
    }

    [KvmTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public async Task String_input_fills_memory_in_order(int width)
    {
        const int Count = 1000;
        using KvmGuest guest = new();
        ulong next = 0;
        RecordingDevice port = new((_, _) => next++ * 0x0101_0101_0101);
        guest.Port.Add(0x500, 4, port);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rdi, KvmGuest.DataAddress);
            c.mov(ecx, Count);
            c.mov(dx, 0x500);
            if (width == 1) c.rep.insb();
            if (width == 2) c.rep.insw();
            if (width == 4) c.rep.insd();
            c.hlt();
        });
        Assert.Equal(VcpuEndReason.Halted, (await guest.RunToEnd()).Reason);
        Assert.Equal(Count, port.Reads.Count);
        for (int i = 0; i < Count; i++)
        {
            for (int j = 0; j < width; j++)
                Assert.Equal((byte)(((ulong)i * 0x0101_0101_0101) >> (8 * j)), guest.Memory[KvmGuest.DataAddress + i * width + j]);
        }
    }

    [KvmFact]
    public async Task String_input_over_the_end_of_memory_harms_only_the_guest()
    {
        using KvmGuest guest = new();
        guest.Port.Add(0x500, 4, new RecordingDevice((_, _) => 0xa5));
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rdi, KvmGuest.MemoryBytes - 16);
            c.mov(ecx, 64);
            c.mov(dx, 0x500);
            c.rep.insb();
            c.hlt();
        });
        await guest.RunToEnd();
        Assert.All(guest.Memory[^16..].ToArray(), value => Assert.Equal(0xa5, value));
        // The guest goes on from there, or ends in a failure of its own; the process lives, and so do the bytes around.
        Assert.Equal(0, guest.Memory[KvmGuest.MemoryBytes - 17]);
    }

    [KvmFact]
    public async Task String_output_from_beyond_the_end_of_memory_reads_what_no_device_answers()
    {
        using KvmGuest guest = new();
        RecordingDevice port = new();
        guest.Port.Add(0x500, 4, port);
        guest.Memory[^4..].Fill(0x11);
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rsi, KvmGuest.MemoryBytes - 4);
            c.mov(ecx, 8);
            c.mov(dx, 0x500);
            c.rep.outsb();
            c.hlt();
        });
        await guest.RunToEnd();
        Assert.Equal([0x11, 0x11, 0x11, 0x11], port.Writes.Take(4).Select(write => write.Value));
        Assert.All(port.Writes.Skip(4), write => Assert.Equal(0xfful, write.Value));
    }

    [KvmFact]
    public async Task A_triple_fault_ends_the_guest_as_a_shutdown()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, KvmGuest.TripleFault);
        Assert.Equal(VcpuEndReason.Shutdown, (await guest.RunToEnd()).Reason);
    }

    [KvmFact]
    public async Task Code_in_a_hole_of_memory_fails_with_a_sentence()
    {
        using KvmGuest guest = new();
        guest.Load(EntryMode.Long, c =>
        {
            c.mov(rax, Device);
            c.jmp(rax);
        });
        VcpuEnd end = await guest.RunToEnd();
        Assert.Equal(VcpuEndReason.Failed, end.Reason);
        Assert.Contains("vCPU 0: KVM could not emulate an instruction, at d0000000", guest.Vcpu.Failure);
    }
}
