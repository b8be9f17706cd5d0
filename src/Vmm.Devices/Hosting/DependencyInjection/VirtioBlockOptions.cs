namespace Vmm.Devices;

/// <summary>A disk, as it is configured.</summary>
public sealed class VirtioBlockOptions
{
    /// <summary>The raw image, or a block device of the host.</summary>
    public string Path { get; set; } = "";

    /// <summary>Whether the guest may only read.</summary>
    public bool ReadOnly { get; set; }

    /// <summary>Whether its bytes go past the host's page cache (O_DIRECT).</summary>
    public bool Direct { get; set; }

    /// <summary>What moves its bytes.</summary>
    public BlockEngineKind Engine { get; set; }

    /// <summary>Request queues.</summary>
    public int Queues { get; set; } = 1;

    /// <summary>Most entries of each queue, a power of two.</summary>
    public ushort QueueSize { get; set; } = 256;

    /// <summary>What the guest reads as the serial number; null: the disk's name.</summary>
    public string? Serial { get; set; }

    internal BlockDeviceOptions Device => new() { Queues = Queues, QueueSize = QueueSize, Serial = Serial };

    /// <summary>What is wrong with the disk now, in a sentence; null if nothing is. The image is opened to find out, and closed again.</summary>
    internal string? Failure(string name, out FileIdentity? identity)
    {
        identity = null;
        if (string.IsNullOrEmpty(Path)) return $"disk '{name}' has no path: name its image";
        try
        {
            Device.Validate(name);
            using RawImage image = RawImage.Open(Path, ReadOnly, Engine, Direct);
            identity = image.Identity;
            return null;
        }
        catch (Exception refusal) when (refusal is ArgumentException or DiskImageException)
        {
            return refusal.Message;
        }
    }
}
