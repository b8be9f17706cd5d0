namespace Vmm.Devices.Sandbox;

/// <summary>
/// The files, directories and ports that a process keeps (landlock(7)). Everything else of the file system and of TCP is forbidden to the
/// calling thread, and to the threads it makes.
/// </summary>
internal sealed class Landlock : IDisposable
{
    /// <summary>From this version on a process can neither signal processes outside nor reach their abstract sockets.</summary>
    internal const int VersionOfScopes = 6;

    private const int VersionOfRefer = 2, VersionOfTruncate = 3, VersionOfPorts = 4, VersionOfIoctl = 5;
    private const ulong Execute = 1 << 0, WriteFile = 1 << 1, ReadFile = 1 << 2, ReadDirectory = 1 << 3, RemoveFile = 1 << 5;
    private const ulong MakeRegular = 1 << 8, MakeSocket = 1 << 9, Refer = 1 << 13, Truncate = 1 << 14, Ioctl = 1 << 15;
    private const ulong AllOfFirst = (1 << 13) - 1;
    private const ulong OfFiles = Execute | WriteFile | ReadFile | Truncate | Ioctl;
    private const ulong BindTcp = 1, ConnectTcp = 2;
    private const ulong AbstractSockets = 1, Signals = 2;

    /// <summary>Of the corrections (landlock(7), errata): signals between threads of a process are allowed. Linux 6.15.</summary>
    private const int SignalsOfThreads = 2;

    /// <summary>What the runtime reads of the host while it collects garbage, and what a front-end is called.</summary>
    private static readonly string[] OfRuntime =
    [
        "/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/sys/devices/system/node", "/dev/urandom", "/etc/ld.so.cache", "/etc/passwd",
        "/etc/nsswitch.conf", "/etc/localtime", "/usr/share/zoneinfo",
    ];

    /// <summary>Where a program's libraries are.</summary>
    internal static readonly string[] Libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

    private readonly OwnedFd _ruleset;
    private readonly ulong _files;
    private readonly bool _hasPorts, _hasBind;

    private Landlock(OwnedFd ruleset, ulong files, ulong network) => (_ruleset, _files, _hasPorts, _hasBind) =
        (ruleset, files, (network & ConnectTcp) != 0, (network & BindTcp) != 0);

    /// <summary>The rules of a plan; null where the kernel has no Landlock.</summary>
    /// <exception cref="KernelException">The kernel refuses them.</exception>
    internal static Landlock? For(SandboxPlan plan)
    {
        int version = SandboxCalls.LandlockVersion();
        if (version == 0) return null;
        ulong files = AllOfFirst | (version >= VersionOfRefer ? Refer : 0) | (version >= VersionOfTruncate ? Truncate : 0)
            | (version >= VersionOfIoctl ? Ioctl : 0);
        bool hasPorts = version >= VersionOfPorts;
        // A cluster's ports are known to its monitors only.
        ulong network = !hasPorts ? 0 : plan.Has(HostAccessKind.ConnectTcp, access => access.Port == 0) ? BindTcp : BindTcp | ConnectTcp;
        // Threads that lay rules each have a domain each. Kernels without this correction refuse signals from one to the other, by which
        // the collector stops threads. The filter of system calls stops those to other processes in either case.
        ulong signals = (SandboxCalls.LandlockCorrections() & SignalsOfThreads) != 0 ? Signals : 0;
        ulong scopes = version < VersionOfScopes ? 0 : plan.NeedsAbstractSockets ? signals : signals | AbstractSockets;
        OwnedFd ruleset = SandboxCalls.CreateRuleset(files, network, scopes)
            ?? throw new KernelException("cannot make a set of Landlock rules", CallResult.LastError);
        Landlock rules = new(ruleset, files, network);
        try
        {
            foreach ((string path, ulong rights) in PathsOf(plan)) rules.AllowPath(path, rights);
            foreach (HostAccess access in plan.All)
            {
                if (access is { Kind: HostAccessKind.ConnectTcp, Port: > 0 } && rules._hasPorts) rules.AllowPort(access.Port, ConnectTcp);
                if (access.Kind == HostAccessKind.ListenTcp && rules._hasBind) rules.AllowPort(access.Port, BindTcp);
            }
            return rules;
        }
        catch
        {
            rules.Dispose();
            throw;
        }
    }

    /// <summary>Lays the rules on the calling thread, which has no_new_privs.</summary>
    /// <exception cref="KernelException">The kernel refuses.</exception>
    internal void Lay()
    {
        Errno error = SandboxCalls.Restrict(_ruleset);
        if (error != Errno.None) throw new KernelException("cannot lay the Landlock rules", error);
    }

    public void Dispose() => _ruleset.Dispose();

    /// <summary>What a plan leaves of the file system: files and directories, with what may be done with them.</summary>
    internal static IEnumerable<(string Path, ulong Rights)> PathsOf(SandboxPlan plan) =>
        [.. OfProgram(), .. plan.KeepsCore ? OfCore() : [], .. plan.All.SelectMany(Of)];

    /// <summary>Whether some rights are to a path that is only looked at.</summary>
    internal static bool OnlyRead(ulong rights) => (rights & ~(ReadFile | ReadDirectory)) == 0;

    /// <summary>What the runtime reads; the standard streams, to open them anew. Nothing is executed any more.</summary>
    private static IEnumerable<(string Path, ulong Rights)> OfProgram() =>
    [
        .. OfRuntime.Select(path => (path, ReadFile | ReadDirectory)),
        ("/dev/null", ReadFile | WriteFile), .. Enumerable.Range(0, 3).Select(fd => ($"/proc/self/fd/{fd}", ReadFile | WriteFile | Ioctl)),
    ];

    /// <summary>
    /// The kernel writes a core file (core(5)) with the rights of the process: where its pattern says, or in the working directory.
    /// </summary>
    private static IEnumerable<(string Path, ulong Rights)> OfCore()
    {
        const string path = "/proc/sys/kernel/core_pattern";
        string pattern = File.Exists(path) ? File.ReadAllText(path).Trim() : "core";
        return pattern.StartsWith('|') ? [] : [(DirectoryOf(pattern), MakeRegular | WriteFile | Truncate)];
    }

    private static IEnumerable<(string Path, ulong Rights)> Of(HostAccess access) => access.Kind switch
    {
        HostAccessKind.Read => [(access.Path, ReadFile | ReadDirectory)],
        HostAccessKind.Write => [(access.Path, ReadFile | WriteFile | Truncate | Ioctl)],
        HostAccessKind.Append => [(access.Path, WriteFile | Ioctl)],
        HostAccessKind.Listen => [(DirectoryOf(access.Path), MakeSocket | RemoveFile)],
        HostAccessKind.Tap => [(TunCalls.Path, ReadFile | WriteFile | Ioctl)],
        HostAccessKind.Terminal => [("/dev/ptmx", ReadFile | WriteFile | Ioctl), ("/dev/pts", ReadFile | WriteFile | Ioctl)],
        HostAccessKind.Libraries =>
        [
            .. Libraries
                .Concat((Environment.GetEnvironmentVariable("LD_LIBRARY_PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries))
                .Select(directory => (directory, ReadFile | ReadDirectory)),
        ],
        _ => [],
    };

    internal static string DirectoryOf(string path) => Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";

    /// <summary>What is not there needs no rule: opening it is refused for that.</summary>
    private void AllowPath(string path, ulong rights)
    {
        using OwnedFd? file = SandboxCalls.NameFile(path, out bool isDirectory);
        if (file is null) return;
        ulong allowed = rights & _files & (isDirectory ? ulong.MaxValue : OfFiles);
        if (allowed == 0) return;
        Errno error = SandboxCalls.AllowFile(_ruleset, file, allowed);
        // Pipes, sockets and memfds are in no directory, and Landlock has no rules for them.
        if (error is not (Errno.None or Errno.BadDescriptor or Errno.BadDescriptorState))
            throw new KernelException($"cannot allow '{path}' in a Landlock rule", error);
    }

    private void AllowPort(int port, ulong rights)
    {
        Errno error = SandboxCalls.AllowPort(_ruleset, port, rights);
        if (error != Errno.None) throw new KernelException($"cannot allow TCP port {port} in a Landlock rule", error);
    }
}
