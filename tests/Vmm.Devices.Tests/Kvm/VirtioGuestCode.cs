using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>A virtio-mmio driver as guest code: brings a device up with one queue, and sends it requests one after the other.</summary>
internal static class VirtioGuestCode
{
    internal const ushort QueueSize = 16;
    internal const int Descriptors = 0x11_0000;
    internal const int Available = 0x11_1000;
    internal const int Used = 0x11_2000;
    internal const int Buffer = 0x11_3000;

    private const ushort DescriptorIsWritable = 2;

    /// <summary>Writes the one descriptor that every request uses; the guest's code only publishes it.</summary>
    internal static void PrepareRing(Span<byte> memory)
    {
        BitConverter.TryWriteBytes(memory[Descriptors..], (ulong)Buffer);
        BitConverter.TryWriteBytes(memory[(Descriptors + 8)..], CountingDevice.RequestBytes);
        BitConverter.TryWriteBytes(memory[(Descriptors + 12)..], DescriptorIsWritable);
    }

    /// <summary>In an interrupt handler: acknowledges the device's interrupt.</summary>
    internal static void Acknowledge(Assembler c, uint device)
    {
        c.mov(ebx, device);
        c.mov(eax, __dword_ptr[rbx + MmioRegister.InterruptStatus]);
        c.mov(__dword_ptr[rbx + MmioRegister.InterruptAck], eax);
        c.inc(__dword_ptr[KvmGuest.DataAddress]);
    }

    /// <summary>Initialises the device (virtio 1.2 § 3.1.1) with VERSION_1 alone.</summary>
    internal static void BringUp(Assembler c, uint device)
    {
        c.mov(ebx, device);
        Set(c, MmioRegister.Status, 0);
        Set(c, MmioRegister.Status, 1);
        Set(c, MmioRegister.Status, 3);
        Set(c, MmioRegister.DriverFeaturesSel, 0);
        Set(c, MmioRegister.DriverFeatures, 0);
        Set(c, MmioRegister.DriverFeaturesSel, 1);
        Set(c, MmioRegister.DriverFeatures, 1);
        Set(c, MmioRegister.Status, 0xb);
        Set(c, MmioRegister.QueueSel, 0);
        Set(c, MmioRegister.QueueSize, QueueSize);
        Set(c, MmioRegister.QueueDescLow, Descriptors);
        Set(c, MmioRegister.QueueDriverLow, Available);
        Set(c, MmioRegister.QueueDeviceLow, Used);
        Set(c, MmioRegister.QueueReady, 1);
        Set(c, MmioRegister.Status, 0xf);
    }

    /// <summary>Sends requests, and sleeps after each until the used index says that it is done.</summary>
    internal static void SendRequests(Assembler c, uint device, int count)
    {
        Label request = c.CreateLabel();
        Label wait = c.CreateLabel();
        Label done = c.CreateLabel();
        c.mov(r8d, count);
        c.mov(ebx, device);
        c.Label(ref request);
        // Every ring entry names descriptor 0, as the ring's zeros do: publishing is the index alone.
        c.inc(__word_ptr[Available + 2]);
        c.mov(__dword_ptr[rbx + MmioRegister.QueueNotify], 0);
        c.Label(ref wait);
        c.cli();
        c.mov(ax, __word_ptr[Used + 2]);
        c.cmp(ax, __word_ptr[Available + 2]);
        c.je(done);
        // The instruction after sti still runs with interrupts off: no interrupt is slept through.
        c.sti();
        c.hlt();
        c.jmp(wait);
        c.Label(ref done);
        c.sti();
        c.dec(r8d);
        c.jnz(request);
    }

    private static void Set(Assembler c, uint register, uint value) => c.mov(__dword_ptr[rbx + register], value);
}
