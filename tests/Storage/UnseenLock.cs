using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices;

namespace Vmm.Tests;

/// <summary>
/// A locked image that no process shows in its descriptors, as the kernel keeps one for a killed process: a mapping of the file has it open.
/// </summary>
internal sealed class UnseenLock : IDisposable
{
    private readonly MemoryMappedViewAccessor _view;

    internal UnseenLock(string path)
    {
        using RawImage image = RawImage.Open(path);
        string own = Directory.GetFiles("/proc/self/fd").Single(fd => new FileInfo(fd).LinkTarget == path);
        using SafeFileHandle file = new(int.Parse(Path.GetFileName(own)), ownsHandle: false);
        using MemoryMappedFile mapped =
            MemoryMappedFile.CreateFromFile(file, mapName: null, capacity: 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
        _view = mapped.CreateViewAccessor();
    }

    public void Dispose() => _view.Dispose();
}
