namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A disk image of zeroes that goes with the test.</summary>
internal sealed class TemporaryImage : IDisposable
{
    internal TemporaryImage(int sectors)
    {
        using FileStream file = File.Create(Path);
        file.SetLength(sectors * 512L);
    }

    internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vmm-image-{Guid.NewGuid():n}");

    internal BlockDevice OpenDevice(int queues = 1, string name = "vda") => new(name, RawImage.Open(Path), new DiskSpec { Queues = queues });

    internal int ReadByte(long offset)
    {
        using FileStream file = new(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        file.Position = offset;
        return file.ReadByte();
    }

    public void Dispose() => File.Delete(Path);
}
