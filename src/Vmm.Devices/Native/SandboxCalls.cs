using System.Text;

namespace Vmm.Devices.Native;

/// <summary>
/// The system calls by which a process gives up rights: prctl(2), capset(2), setresuid(2), landlock(7), seccomp(2); and posix_spawn(3), by
/// which it starts one that keeps them.
/// </summary>
internal static unsafe partial class SandboxCalls
{
    private const string Name = "libc";

    internal const int R_OK = 4;
    internal const int W_OK = 2;
    internal const int X_OK = 1;
    internal const int CapabilityMax = 63;

    private const int PR_SET_DUMPABLE = 4;
    private const int PR_CAPBSET_READ = 23;
    private const int PR_CAPBSET_DROP = 24;
    private const int PR_SET_SECUREBITS = 28;
    private const int PR_SET_NO_NEW_PRIVS = 38;
    private const int PR_CAP_AMBIENT = 47;
    private const int PR_CAP_AMBIENT_CLEAR_ALL = 4;
    private const uint CapabilityVersion = 0x20080522;
    private const int AT_FDCWD = -100;
    private const int AT_EACCESS = 0x200;
    private const int O_PATH = 0x200000;
    private const int O_CLOEXEC = 0x80000;
    private const long NR_seccomp = 317;
    private const long NR_landlock_create_ruleset = 444;
    private const long NR_landlock_add_rule = 445;
    private const long NR_landlock_restrict_self = 446;
    private const uint LANDLOCK_CREATE_RULESET_VERSION = 1;
    private const uint LANDLOCK_CREATE_RULESET_ERRATA = 2;
    private const int LANDLOCK_RULE_PATH_BENEATH = 1;
    private const int LANDLOCK_RULE_NET_PORT = 2;
    internal const uint SECCOMP_SET_MODE_FILTER = 1;
    private const uint SECCOMP_GET_ACTION_AVAIL = 2;
    private const uint SECCOMP_FILTER_FLAG_TSYNC = 1;
    internal const uint SECCOMP_FILTER_FLAG_LOG = 2;

    internal static Errno SetNoNewPrivileges() => CallResult.Of(Control(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

    /// <summary>Whether other processes of this user may look into this one, and a crash may leave a core file.</summary>
    internal static void SetDumpable(bool isOn) => _ = Control(PR_SET_DUMPABLE, isOn ? 1u : 0u, 0, 0, 0);

    /// <summary>What the permissions of new files lack.</summary>
    [LibraryImport(Name, EntryPoint = "umask")]
    internal static partial uint SetFileMask(uint mask);

    /// <summary>Takes every capability but some out of the bounding set, as far as this thread may.</summary>
    internal static void DropBoundingSet(ulong keep)
    {
        for (uint i = 0; i <= CapabilityMax; i++)
        {
            if ((keep >> (int)i & 1) == 0 && Control(PR_CAPBSET_READ, i, 0, 0, 0) == 1) _ = Control(PR_CAPBSET_DROP, i, 0, 0, 0);
        }
    }

    /// <summary>No capability stays over an execve(2) but those of root.</summary>
    internal static void ClearAmbientSet() => _ = Control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

    /// <summary>SECBIT_… (capabilities(7)).</summary>
    internal static void SetSecureBits(uint bits) => _ = Control(PR_SET_SECUREBITS, bits, 0, 0, 0);

    /// <summary>The capabilities that the calling thread may have.</summary>
    internal static ulong PermittedCapabilities()
    {
        CapabilityHeader header = new() { Version = CapabilityVersion };
        CapabilitySets* sets = stackalloc CapabilitySets[2];
        // SAFETY: the kernel writes two structures of this version, which the stack has room for.
        return GetCapabilities(&header, sets) == 0 ? sets[0].Permitted | (ulong)sets[1].Permitted << 32 : 0;
    }

    /// <summary>Sets those of the calling thread; none is inherited over an execve(2).</summary>
    internal static Errno SetCapabilities(ulong effective, ulong permitted)
    {
        CapabilityHeader header = new() { Version = CapabilityVersion };
        CapabilitySets* sets = stackalloc CapabilitySets[2];
        sets[0] = new CapabilitySets { Effective = (uint)effective, Permitted = (uint)permitted };
        sets[1] = new CapabilitySets { Effective = (uint)(effective >> 32), Permitted = (uint)(permitted >> 32) };
        // SAFETY: the kernel reads two structures of this version.
        return CallResult.Of(SetCapabilities(&header, sets));
    }

    /// <summary>Whether this thread may open a path in a mode, with the capabilities that are effective now.</summary>
    internal static bool MayAccess(string path, int mode, out Errno error)
    {
        error = Access(AT_FDCWD, path, mode, AT_EACCESS) == 0 ? Errno.None : CallResult.LastError;
        return error == Errno.None;
    }

    /// <summary>Becomes another user, in all threads and for good, without any further group.</summary>
    internal static Errno BecomeUser(uint user, uint group)
    {
        // SAFETY: no group is read from an empty list.
        int result = SetGroups(0, null);
        // A process that may not change its groups may have none.
        if (result < 0 && CallResult.LastError != Errno.NotPermitted) return CallResult.LastError;
        if (result == 0) result = SetGroup(group, group, group);
        return result < 0 ? CallResult.LastError : CallResult.Of(SetUser(user, user, user));
    }

    /// <summary>Has the calling thread look at files as another user does, if it may (setfsuid(2)).</summary>
    /// <returns>As whom it did before.</returns>
    internal static (uint User, uint Group) ActAs(uint user, uint group)
    {
        uint groupBefore = SetFileGroup(group);
        return (SetFileUser(user), groupBefore);
    }

    /// <summary>The number and the group of a user (getpwnam(3)).</summary>
    internal static bool TryFindUser(string name, out uint user, out uint group)
    {
        const int userOffset = 16, groupOffset = 20;
        // SAFETY: struct passwd of x86-64 begins with two pointers, then the two numbers. It is read before any other call.
        byte* entry = FindUser(name);
        user = entry == null ? 0 : *(uint*)(entry + userOffset);
        group = entry == null ? 0 : *(uint*)(entry + groupOffset);
        return entry != null;
    }

    /// <summary>The number of a group (getgrnam(3)).</summary>
    internal static bool TryFindGroup(string name, out uint group)
    {
        const int groupOffset = 16;
        // SAFETY: struct group of x86-64 begins with two pointers, then the number. It is read before any other call.
        byte* entry = FindGroup(name);
        group = entry == null ? 0 : *(uint*)(entry + groupOffset);
        return entry != null;
    }

    /// <summary>Whether there is such a descriptor, which is not closed on exec.</summary>
    internal static bool IsInherited(int fd)
    {
        const int GetDescriptorFlags = 1, CloseOnExec = 1;
        int flags = MemoryCalls.Fcntl(fd, GetDescriptorFlags, 0);
        return flags >= 0 && (flags & CloseOnExec) == 0;
    }

    /// <summary>Whether what this process executes gets a descriptor.</summary>
    internal static Errno SetInherited(int fd, bool inherited)
    {
        const int SetDescriptorFlags = 2, CloseOnExec = 1;
        return CallResult.Of(MemoryCalls.Fcntl(fd, SetDescriptorFlags, inherited ? 0 : CloseOnExec));
    }

    /// <summary>The version of the kernel's Landlock; 0 where there is none.</summary>
    // SAFETY: no attribute is read where the version is asked for.
    internal static int LandlockVersion() =>
        Math.Max(0, (int)CreateRuleset(NR_landlock_create_ruleset, null, 0, LANDLOCK_CREATE_RULESET_VERSION));

    /// <summary>The corrections that it has, a bit each (landlock(7), errata); 0 where it cannot say so.</summary>
    // SAFETY: no attribute is read where they are asked for.
    internal static int LandlockCorrections() =>
        Math.Max(0, (int)CreateRuleset(NR_landlock_create_ruleset, null, 0, LANDLOCK_CREATE_RULESET_ERRATA));

    /// <summary>A set of rules that forbids what it handles and no rule allows.</summary>
    /// <returns>Null and <see cref="CallResult.LastError"/> if the kernel refuses.</returns>
    internal static OwnedFd? CreateRuleset(ulong files, ulong network, ulong scopes)
    {
        ulong* attributes = stackalloc ulong[3] { files, network, scopes };
        // SAFETY: struct landlock_ruleset_attr is three numbers; a kernel that knows fewer takes zeros behind them.
        long fd = CreateRuleset(NR_landlock_create_ruleset, attributes, 3 * sizeof(ulong), 0);
        return CallResult.Descriptor((nint)fd);
    }

    /// <summary>Allows something with a file, or with everything below a directory.</summary>
    internal static Errno AllowFile(OwnedFd ruleset, OwnedFd file, ulong rights)
    {
        PathBeneath rule = new() { Allowed = rights, Parent = file.Number };
        // SAFETY: the kernel reads one struct landlock_path_beneath_attr, a local.
        return CallResult.Of((int)AddRule(NR_landlock_add_rule, ruleset.Number, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
    }

    /// <summary>Allows something with a TCP port.</summary>
    internal static Errno AllowPort(OwnedFd ruleset, int port, ulong rights)
    {
        ulong* rule = stackalloc ulong[2] { rights, (ulong)port };
        // SAFETY: the kernel reads one struct landlock_net_port_attr, which is two numbers.
        return CallResult.Of((int)AddRule(NR_landlock_add_rule, ruleset.Number, LANDLOCK_RULE_NET_PORT, rule, 0));
    }

    /// <summary>Lays a set of rules on the calling thread, for good.</summary>
    internal static Errno Restrict(OwnedFd ruleset) => CallResult.Of((int)RestrictSelf(NR_landlock_restrict_self, ruleset.Number, 0));

    /// <summary>A descriptor that names a file without opening it; null if there is none.</summary>
    internal static OwnedFd? NameFile(string path, out bool isDirectory)
    {
        isDirectory = false;
        int fd = FileCalls.Open(path, O_PATH | O_CLOEXEC);
        if (fd < 0) return null;
        isDirectory = MemoryCalls.Stat(fd, out FileStatus status) == Errno.None && status.IsDirectory;
        return new OwnedFd(fd);
    }

    /// <summary>Whether the kernel has system call filters that can end a process.</summary>
    internal static bool HasFilters(uint action)
    {
        // SAFETY: the kernel reads one number, a local.
        return Seccomp(NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    }

    /// <summary>
    /// Lays a filter, for good: on all threads, or on the calling one and those that it makes. The kernel may log what it refuses.
    /// </summary>
    internal static Errno InstallFilter(ReadOnlySpan<BpfInstruction> program, bool logs, bool everyThread = true)
    {
        // SAFETY: the kernel copies the program, which is pinned for the call, as struct sock_fprog says.
        fixed (BpfInstruction* first = program)
        {
            FilterProgram filter = new() { Length = (ushort)program.Length, Instructions = first };
            uint flags = (everyThread ? SECCOMP_FILTER_FLAG_TSYNC : 0) | (logs ? SECCOMP_FILTER_FLAG_LOG : 0);
            long result = Seccomp(NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
            // Above 0 it is the number of a thread that has other filters.
            return result == 0 ? Errno.None : result < 0 ? CallResult.LastError : Errno.Busy;
        }
    }

    /// <summary>
    /// Starts a program that reads nothing and whose output goes nowhere; its arguments begin with its name. Unlike
    /// <see cref="System.Diagnostics.Process"/> it starts no thread of this process.
    /// </summary>
    internal static Errno Start(string path, IEnumerable<string> arguments, IEnumerable<string> environment)
    {
        const int input = 0, output = 1, actionsBytes = 80;
        const string nowhere = "/dev/null";
        byte* actions = stackalloc byte[actionsBytes];
        List<GCHandle> pinned = [];
        nint[] argumentList = Pin(arguments), environmentList = Pin(environment);
        // SAFETY: posix_spawn_file_actions_t of x86-64 has that size; both lists end with a null, every text with a zero byte, and all are
        // pinned until the other process has them.
        fixed (nint* argumentsAt = argumentList, environmentAt = environmentList)
        {
            _ = MakeActions(actions);
            int error = AddOpen(actions, input, nowhere, FileCalls.O_RDONLY, 0);
            if (error == 0) error = AddOpen(actions, output, nowhere, FileCalls.O_WRONLY, 0);
            int process;
            if (error == 0) error = Spawn(&process, path, actions, null, argumentsAt, environmentAt);
            _ = EndActions(actions);
            pinned.ForEach(each => each.Free());
            return (Errno)error;
        }

        nint[] Pin(IEnumerable<string> texts)
        {
            List<nint> list = [];
            foreach (string text in texts)
            {
                GCHandle handle = GCHandle.Alloc(Encoding.UTF8.GetBytes(text + '\0'), GCHandleType.Pinned);
                pinned.Add(handle);
                list.Add(handle.AddrOfPinnedObject());
            }
            return [.. list, 0];
        }
    }

    [LibraryImport(Name, EntryPoint = "prctl", SetLastError = true)]
    private static partial int Control(int option, nuint second, nuint third, nuint fourth, nuint fifth);

    [LibraryImport(Name, EntryPoint = "capget", SetLastError = true)]
    private static partial int GetCapabilities(CapabilityHeader* header, CapabilitySets* sets);

    [LibraryImport(Name, EntryPoint = "capset", SetLastError = true)]
    private static partial int SetCapabilities(CapabilityHeader* header, CapabilitySets* sets);

    [LibraryImport(Name, EntryPoint = "faccessat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(int directory, string path, int mode, int flags);

    [LibraryImport(Name, EntryPoint = "setgroups", SetLastError = true)]
    private static partial int SetGroups(nuint count, uint* groups);

    [LibraryImport(Name, EntryPoint = "setresgid", SetLastError = true)]
    private static partial int SetGroup(uint real, uint effective, uint saved);

    [LibraryImport(Name, EntryPoint = "setresuid", SetLastError = true)]
    private static partial int SetUser(uint real, uint effective, uint saved);

    [LibraryImport(Name, EntryPoint = "setfsuid")]
    private static partial uint SetFileUser(uint user);

    [LibraryImport(Name, EntryPoint = "setfsgid")]
    private static partial uint SetFileGroup(uint group);

    [LibraryImport(Name, EntryPoint = "getpwnam", StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* FindUser(string name);

    [LibraryImport(Name, EntryPoint = "getgrnam", StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* FindGroup(string name);

    [LibraryImport(Name, EntryPoint = "posix_spawn", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Spawn(int* process, string path, byte* actions, void* attributes, nint* arguments, nint* environment);

    [LibraryImport(Name, EntryPoint = "posix_spawn_file_actions_init")]
    private static partial int MakeActions(byte* actions);

    [LibraryImport(Name, EntryPoint = "posix_spawn_file_actions_addopen", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int AddOpen(byte* actions, int fd, string path, int flags, uint mode);

    [LibraryImport(Name, EntryPoint = "posix_spawn_file_actions_destroy")]
    private static partial int EndActions(byte* actions);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long CreateRuleset(long number, ulong* attributes, nuint size, uint flags);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long AddRule(long number, int ruleset, int type, void* rule, uint flags);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long RestrictSelf(long number, int ruleset, uint flags);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long Seccomp(long number, uint operation, uint flags, void* argument);

    [StructLayout(LayoutKind.Sequential)]
    private struct CapabilityHeader
    {
        internal uint Version;
        internal int Process;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct CapabilitySets
    {
        internal uint Effective;
        internal uint Permitted;
        internal uint Inheritable;
    }

    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private struct PathBeneath
    {
        internal ulong Allowed;
        internal int Parent;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FilterProgram
    {
        internal ushort Length;
        internal BpfInstruction* Instructions;
    }
}

/// <summary>struct sock_filter (linux/filter.h): one instruction of a classic BPF program.</summary>
/// <param name="Code">What it does.</param>
/// <param name="IfTrue">Instructions that a jump skips if its condition holds.</param>
/// <param name="IfFalse">Those it skips if not.</param>
/// <param name="Operand">Its operand.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct BpfInstruction(ushort Code, byte IfTrue, byte IfFalse, uint Operand);
