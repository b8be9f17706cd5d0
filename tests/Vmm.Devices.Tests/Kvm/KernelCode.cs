using Iced.Intel;
using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Code of small kernels, and what tests see of the machine that runs one.</summary>
internal static class KernelCode
{
    /// <summary>Where kernels count.</summary>
    internal const int Counter = 0x30_0000;

    /// <summary>Code as bytes.</summary>
    internal static byte[] Assemble(int bits, Action<Assembler> write, ulong address = ElfFile.LoadAddress)
    {
        Assembler assembler = new(bits);
        write(assembler);
        MemoryStream code = new();
        assembler.Assemble(new StreamCodeWriter(code), address);
        return code.ToArray();
    }

    /// <summary>Writes a byte to a port.</summary>
    internal static void Out(Assembler c, int port, int value)
    {
        c.mov(edx, port);
        c.mov(eax, value);
        c.@out(dx, al);
    }

    /// <summary>Prints a text on the serial port.</summary>
    internal static void Say(Assembler c, string text)
    {
        foreach (char letter in text) Out(c, 0x3f8, letter);
    }

    /// <summary>Prints it if what was compared is equal.</summary>
    internal static void SayIfEqual(Assembler c, string text)
    {
        Label otherwise = c.CreateLabel();
        c.jne(otherwise);
        Say(c, text);
        c.Label(ref otherwise);
        c.nop();
    }

    internal static void PowerOff(Assembler c)
    {
        Out(c, 0x600, (AcpiPowerControl.SleepTypeOff << 2) | 0x20);
        KvmGuest.Spin(c);
    }

    internal static uint Read(KvmMachine machine, ulong address = Counter) => Read(machine.Host, address);

    internal static uint Read(DeviceHost host, ulong address = Counter)
    {
        byte[] bytes = new byte[4];
        Assert.True(host.Memory.TryRead(address, bytes));
        return BitConverter.ToUInt32(bytes);
    }

    internal static void WaitForCount(KvmMachine machine)
    {
        uint before = Read(machine);
        Assert.True(SpinWait.SpinUntil(() => Read(machine) - before > 1000, KvmGuest.Watchdog), "the guest does not count");
    }
}
