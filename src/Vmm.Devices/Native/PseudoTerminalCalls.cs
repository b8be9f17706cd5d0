using System.Text;

namespace Vmm.Devices.Native;

/// <summary>Pseudo-terminals: posix_openpt(3), grantpt(3), unlockpt(3), ptsname_r(3).</summary>
internal static unsafe partial class PseudoTerminalCalls
{
    private const string Name = "libc";
    private const int O_RDWR = 2;
    private const int O_NOCTTY = 0x100;
    private const int O_NONBLOCK = 0x800;
    private const int O_CLOEXEC = 0x80000;
    private const int PathBytesMax = 128;

    [LibraryImport(Name, EntryPoint = "posix_openpt", SetLastError = true)]
    private static partial int OpenMaster(int flags);

    [LibraryImport(Name, EntryPoint = "grantpt", SetLastError = true)]
    private static partial int Grant(int fd);

    [LibraryImport(Name, EntryPoint = "unlockpt", SetLastError = true)]
    private static partial int Unlock(int fd);

    [LibraryImport(Name, EntryPoint = "ptsname_r", SetLastError = true)]
    private static partial int NameOf(int fd, byte* name, nuint length);

    [LibraryImport(Name, EntryPoint = "cfmakeraw")]
    private static partial void MakeRaw(TerminalMode* mode);

    /// <summary>Opens a pair in raw mode: the master non-blocking, the other side as its users will.</summary>
    /// <exception cref="KernelException">There is none left.</exception>
    internal static (OwnedFd Master, OwnedFd Other, string Path) Open()
    {
        int number = OpenMaster(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (number < 0) throw Refused();
        OwnedFd master = new(number);
        try
        {
            byte* name = stackalloc byte[PathBytesMax];
            // SAFETY: the call writes at most PathBytesMax bytes, the terminating zero included.
            if (Grant(number) < 0 || Unlock(number) < 0 || NameOf(number, name, PathBytesMax) != 0) throw Refused();
            string path = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
            int other = FileCalls.Open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (other < 0) throw Refused();
            SetRaw(other);
            return (master, new OwnedFd(other), path);
        }
        catch
        {
            master.Dispose();
            throw;
        }
    }

    private static void SetRaw(int fd)
    {
        if (TerminalCalls.Get(fd, out TerminalMode mode) != Errno.None) return;
        // SAFETY: the C library changes one termios in place, a local.
        MakeRaw(&mode);
        _ = TerminalCalls.Set(fd, mode);
    }

    private static KernelException Refused() => new("cannot open a pseudo-terminal", CallResult.LastError);
}
