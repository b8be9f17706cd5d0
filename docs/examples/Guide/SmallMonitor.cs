using Vmm.Devices;
using Vmm.Devices.Kvm;

namespace Vmm.Examples.Guide;

/// <summary>Guide 6: a virtual machine monitor. A kernel on KVM, a serial port, a disk, and a port of your own.</summary>
public static class SmallMonitor
{
    /// <summary>Boots a kernel and runs it to its end.</summary>
    public static MachineResult Boot(string kernel, string? image, Stream console, Action<byte> onByte, CancellationToken stop)
    {
        KvmMachineOptions options = new() { Boot = new BootSource(kernel), MemoryBytes = 128 << 20, Vcpus = 1 };
        // The board has the memory, the buses, the interrupt lines; the host has the devices; the machine has the vCPUs.
        using DeviceHost host = new(new KvmBoard(options));
        host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(console) });
        if (image is not null) host.Add("vda", new DiskSpec { Path = image });
        host.Board.Ports.Add(ScratchPort.Number, 1, new ScratchPort(onByte));
        using KvmMachine machine = new(host);
        return machine.Run(stop);
    }

    /// <summary>A device of one port: each exit of a vCPU that writes there is a call of it, on that vCPU's thread.</summary>
    private sealed class ScratchPort(Action<byte> onByte) : IBusDevice
    {
        internal const ulong Number = 0x510;

        public void Read(ulong offset, Span<byte> data) => data.Fill(0x5a);

        public void Write(ulong offset, ReadOnlySpan<byte> data) => onByte(data[0]);
    }
}
