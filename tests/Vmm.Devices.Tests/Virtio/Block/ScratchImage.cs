namespace Vmm.Devices.Tests;

/// <summary>A disk image in the temporary folder, gone with the test.</summary>
internal sealed class ScratchImage : IDisposable
{
    internal ScratchImage(long bytes)
    {
        using FileStream file = File.Create(Path);
        file.SetLength(bytes);
    }

    internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vmm-test-{Guid.NewGuid():n}.img");

    internal byte[] Bytes
    {
        get => File.ReadAllBytes(Path);
        set => File.WriteAllBytes(Path, value);
    }

    public void Dispose() => File.Delete(Path);
}
