using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Vmm.Fuzz.Native;

/// <summary>Shared memory of another process (shmat(2)). It stays attached as long as the process lives.</summary>
internal sealed unsafe partial class SharedMemory
{
    private readonly nint _start;
    private readonly int _length;

    private SharedMemory(nint start, int length) => (_start, _length) = (start, length);

    // SAFETY: the mapping is never removed, and its owner made it of that length: AFL_MAP_SIZE says so.
    internal Span<byte> Bytes => new((void*)_start, _length);

    internal static SharedMemory Attach(int id, int length)
    {
        nint start = ShmAt(id, 0, 0);
        return start == -1 ? throw new Win32Exception() : new SharedMemory(start, length);
    }

    [LibraryImport("libc", EntryPoint = "shmat", SetLastError = true)]
    private static partial nint ShmAt(int id, nint address, int flags);
}
