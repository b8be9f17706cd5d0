namespace Vmm.Devices;

/// <summary>A network card, as it is configured: on a TAP interface or on a socket.</summary>
public sealed class VirtioNetOptions
{
    /// <summary>The TAP interface, see <see cref="TapInterface.Open"/>.</summary>
    public string? Tap { get; set; }

    /// <summary>The path of a Unix socket, see <see cref="NetSocket.Open"/>.</summary>
    public string? Socket { get; set; }

    /// <summary>Queue pairs; more than one only on a TAP.</summary>
    public int QueuePairs { get; set; } = 1;

    /// <summary>Most entries of each queue, a power of two.</summary>
    public ushort QueueSize { get; set; } = 256;

    /// <summary>The guest's address; null: a random one.</summary>
    public MacAddress? Mac { get; set; }

    /// <summary>The largest packet the guest should send; null: it is told none.</summary>
    public int? Mtu { get; set; }

    private NetDeviceOptions Device => new() { QueuePairs = QueuePairs, QueueSize = QueueSize, Mac = Mac, Mtu = Mtu };

    /// <summary>What is wrong with the card, in a sentence; null if nothing is. The network is not opened to find out: opening one shows outside.</summary>
    internal string? Failure(string name)
    {
        if (string.IsNullOrEmpty(Tap) == string.IsNullOrEmpty(Socket)) return $"network '{name}': name either its tap or its socket";
        if (Socket is not null && QueuePairs > 1) return $"network '{name}' has {QueuePairs} queue pairs: a socket has one";
        return Device.Failure(name);
    }

    /// <summary>Opens the network, and makes the card.</summary>
    internal NetDevice Open(string name)
    {
        INetBackend backend = Tap is not null ? TapInterface.Open(Tap, QueuePairs) : NetSocket.Open(Socket!);
        try
        {
            return new NetDevice(name, backend, Device);
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }
}
