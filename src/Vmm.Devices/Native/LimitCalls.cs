namespace Vmm.Devices.Native;

/// <summary>What a process may use: getrlimit(2), setrlimit(2).</summary>
internal static partial class LimitCalls
{
    internal const int RLIMIT_CORE = 4;
    internal const int RLIMIT_MSGQUEUE = 12;
    internal const int RLIMIT_RTPRIO = 14;
    private const int RLIMIT_NOFILE = 7;
    private const int RLIMIT_MEMLOCK = 8;

    /// <summary>Most descriptors of this process; no limit if the kernel gives none.</summary>
    internal static ulong Descriptors() => SoftLimit(RLIMIT_NOFILE);

    /// <summary>Bytes that the kernel locks for this user; no limit if the kernel gives none.</summary>
    internal static ulong LockedBytes() => SoftLimit(RLIMIT_MEMLOCK);

    /// <summary>
    /// Sets the size of a core file (core(5)) to nothing, or to as much as this process may set. Guest memory that this process mapped is
    /// no part of it.
    /// </summary>
    /// <returns>The bytes a core file may have.</returns>
    internal static ulong SetCoreFile(bool isWanted)
    {
        if (GetLimit(RLIMIT_CORE, out ResourceLimit limit) != 0) return 0;
        limit.Soft = isWanted ? limit.Hard : 0;
        return SetLimit(RLIMIT_CORE, limit) == 0 ? limit.Soft : 0;
    }

    /// <summary>Sets the soft and the hard limit of a resource.</summary>
    internal static void Set(int resource, ulong value) => _ = SetLimit(resource, new ResourceLimit { Soft = value, Hard = value });

    private static ulong SoftLimit(int resource) => GetLimit(resource, out ResourceLimit limit) == 0 ? limit.Soft : ulong.MaxValue;

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, in ResourceLimit limit);

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, out ResourceLimit limit);

    /// <summary>struct rlimit.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ResourceLimit
    {
        internal ulong Soft;
        internal ulong Hard;
    }
}
