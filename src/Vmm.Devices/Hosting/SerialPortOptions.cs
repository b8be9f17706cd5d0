using Vmm.Events;

namespace Vmm.Devices;

/// <summary>How a serial port is placed and what it is connected to.</summary>
public sealed class SerialPortOptions
{
    private const int LastPort = ushort.MaxValue - Uart16550.RegisterCount + 1;

    /// <summary>First of its eight ports; 0x3f8 is what a PC calls COM1.</summary>
    public int Port { get; set; } = 0x3f8;

    /// <summary>Its interrupt line.</summary>
    public int Interrupt { get; set; } = 4;

    /// <summary>What the guest reads; taken over by the host. Null: nothing.</summary>
    public OwnedFd? Input { get; set; }

    /// <summary>Where the guest's bytes go; taken over by the host. Null drops them.</summary>
    public ISerialOutput? Output { get; set; }

    /// <summary>Input that is there already, before anything is read.</summary>
    public ReadOnlyMemory<byte> Script { get; set; }

    internal IEnumerable<string> Failures(string name)
    {
        if (Port is < 0 or > LastPort) yield return $"serial port '{name}' at port 0x{Port:x}: give it 0 to 0x{LastPort:x}";
        if (Interrupt < 0) yield return $"serial port '{name}' on interrupt line {Interrupt}: lines count from 0";
    }
}
