using System.Runtime.InteropServices;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>What a hostile front-end does to the flags of a descriptor it shares.</summary>
internal static partial class FileFlags
{
    private const int F_GETFL = 3;
    private const int F_SETFL = 4;
    private const int O_NONBLOCK = 0x800;

    internal static void MakeBlocking(int fd) => Assert.Equal(0, Fcntl(fd, F_SETFL, Fcntl(fd, F_GETFL, 0) & ~O_NONBLOCK));

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Fcntl(int fd, int command, int argument);
}
