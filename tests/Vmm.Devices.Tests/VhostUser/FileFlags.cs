using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>What a hostile front-end does to the flags of a descriptor it shares.</summary>
internal static partial class FileFlags
{
    private const int F_GETFL = 3;
    private const int F_SETFL = 4;
    private const int O_NONBLOCK = 0x800;
    private const int O_PATH = 0x200000;
    private const int O_CLOEXEC = 0x80000;

    internal static void MakeBlocking(int fd) => Assert.Equal(0, Fcntl(fd, F_SETFL, Fcntl(fd, F_GETFL, 0) & ~O_NONBLOCK));

    /// <summary>A descriptor that names a file and gives no access to it.</summary>
    internal static OwnedFd OpenPath(string path) => new(Open(path, O_PATH | O_CLOEXEC));

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Fcntl(int fd, int command, int argument);
}
