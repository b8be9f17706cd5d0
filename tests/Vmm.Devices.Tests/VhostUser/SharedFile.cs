using Microsoft.Win32.SafeHandles;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A file without a name, as a front-end shares it that cannot seal its memory.</summary>
internal sealed class SharedFile : IDisposable
{
    private readonly SafeFileHandle _file;

    internal SharedFile(string directory, ulong bytes)
    {
        string path = Path.Combine(directory, $"vmm-shared-{Guid.NewGuid():N}");
        _file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite);
        File.Delete(path);
        RandomAccess.SetLength(_file, (long)bytes);
    }

    internal int Number => (int)_file.DangerousGetHandle();

    /// <summary>Shortens it, or makes it longer again.</summary>
    internal void Resize(ulong bytes) => RandomAccess.SetLength(_file, (long)bytes);

    internal OwnedFd Duplicate()
    {
        OwnedFd borrowed = new(Number);
        OwnedFd copy = borrowed.Duplicate();
        borrowed.SetHandleAsInvalid();
        return copy;
    }

    public void Dispose() => _file.Dispose();
}
