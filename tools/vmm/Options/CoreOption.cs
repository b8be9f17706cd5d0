using System.CommandLine;
using Vmm.Devices.Native;

namespace Vmm.Tool;

/// <summary>
/// <c>--core</c>: whether a crash leaves a core file. Without it there is none, whatever the limits of the caller are: it holds data of
/// guests.
/// </summary>
internal static class CoreOption
{
    internal static SwitchOption Create() => new("--core",
        "Leave a core file at a crash, for gdb. It holds what this process had in memory, guests' data included, but not their memory.");

    /// <summary>Does what was asked for.</summary>
    /// <exception cref="UsageException">A core file is wanted, and the hard limit allows none.</exception>
    internal static void Apply(bool isWanted)
    {
        ulong bytes = LimitCalls.SetCoreFile(isWanted);
        if (isWanted && bytes == 0)
            throw new UsageException("--core: the hard limit allows no core file: raise it (ulimit -H -c unlimited, LimitCORE=infinity)");
    }
}
