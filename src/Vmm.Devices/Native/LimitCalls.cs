using System.Runtime.InteropServices;

namespace Vmm.Devices.Native;

/// <summary>What a process may use: getrlimit(2), setrlimit(2).</summary>
internal static unsafe partial class LimitCalls
{
    private const int RLIMIT_CORE = 4;
    private const int RLIMIT_NOFILE = 7;
    private const int RLIMIT_MEMLOCK = 8;

    /// <summary>Most descriptors of this process; no limit if the kernel gives none.</summary>
    internal static ulong Descriptors() => SoftLimit(RLIMIT_NOFILE);

    /// <summary>Bytes that the kernel locks for this user; no limit if the kernel gives none.</summary>
    internal static ulong LockedBytes() => SoftLimit(RLIMIT_MEMLOCK);

    /// <summary>Sets the size of a core file to nothing, or to as much as this process may set.</summary>
    /// <returns>The bytes a core file may have.</returns>
    internal static ulong SetCoreFile(bool isWanted)
    {
        ResourceLimit limit = default;
        // SAFETY: the kernel writes, then reads, one struct rlimit, a local.
        if (GetLimit(RLIMIT_CORE, &limit) != 0) return 0;
        limit.Soft = isWanted ? limit.Hard : 0;
        return SetLimit(RLIMIT_CORE, &limit) == 0 ? limit.Soft : 0;
    }

    private static ulong SoftLimit(int resource)
    {
        ResourceLimit limit = default;
        // SAFETY: the kernel writes one struct rlimit, a local.
        return GetLimit(resource, &limit) == 0 ? limit.Soft : ulong.MaxValue;
    }

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, ResourceLimit* limit);

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, ResourceLimit* limit);

    /// <summary>struct rlimit.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ResourceLimit
    {
        internal ulong Soft;
        internal ulong Hard;
    }
}
