using System.Globalization;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Sandbox;

/// <summary>
/// Gives up the rights of this process in two steps. <see cref="Enclose"/> lays what acts on the calling thread only, and executes the
/// program again, so that every thread of the new one has it; <see cref="Close(SandboxPlan)"/> lays the filter of system calls on all
/// threads at once, before the first byte of a guest is read.
/// </summary>
public static class ProcessSandbox
{
    /// <summary>Has the number of a process that was executed again: an execve(2) keeps the number, and no child has it.</summary>
    private const string Mark = "VMM_SANDBOX";

    /// <summary>The filters of threads that serve a guest. Written before these threads begin.</summary>
    private static readonly Dictionary<ThreadKind, BpfInstruction[]> OfThreads = [];

    private const uint KillProcess = SystemCallFilter.KillProcess;

    /// <summary>Whether this process was executed again by <see cref="Enclose"/>.</summary>
    public static bool IsEnclosed =>
        Environment.GetEnvironmentVariable(Mark) == Environment.ProcessId.ToString(CultureInfo.InvariantCulture)
        && SandboxCalls.HasNoNewPrivileges;

    /// <summary>What the kernel lacks of what a sandbox is made of, each in a sentence.</summary>
    public static IReadOnlyList<string> Lacks()
    {
        List<string> lacks = [];
        int landlock = SandboxCalls.LandlockVersion();
        if (landlock == 0) lacks.Add("this kernel has no Landlock: files and TCP ports are not restricted (boot it with lsm=landlock,…)");
        else if (landlock < Landlock.VersionOfScopes)
            lacks.Add($"this kernel's Landlock has version {landlock}: what came with versions up to {Landlock.VersionOfScopes} is not "
                + "restricted (scopes of signals and abstract sockets came with Linux 6.12)");
        if (!SandboxCalls.HasFilters(KillProcess)) lacks.Add("this kernel has no seccomp filters: system calls are not restricted");
        return lacks;
    }

    /// <summary>
    /// Becomes the plan's user, drops capabilities, keeps only the files and ports of the plan, and executes this program again with other
    /// arguments. Returns only by an exception: this thread has lost its rights by then, and the process cannot go on.
    /// </summary>
    /// <param name="plan">What is kept.</param>
    /// <param name="arguments">What the program is to do, without its name.</param>
    /// <exception cref="ArgumentException">The plan's user makes no sense.</exception>
    /// <exception cref="IOException">The kernel refuses something; the message says what.</exception>
    public static void Enclose(SandboxPlan plan, IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(arguments);
        // A process that becomes another user may not read them any more.
        byte[][] words = Split(File.ReadAllBytes("/proc/self/cmdline")), environment = Split(File.ReadAllBytes("/proc/self/environ"));
        Privileges.MakeFilesAsUser(plan);
        if (plan.Layers.HasFlag(SandboxLayers.Namespaces)) PrivateRoot.TryEnter(plan);
        Privileges.BecomeUser(plan);
        using Landlock? landlock = plan.Layers.HasFlag(SandboxLayers.Files) ? Landlock.For(plan) : null;
        if (plan.Layers.HasFlag(SandboxLayers.Privileges))
        {
            Privileges.DropCapabilities(plan);
            Privileges.Limit(plan);
        }
        Errno error = SandboxCalls.SetNoNewPrivileges();
        if (error != Errno.None) throw new KernelException("cannot give up new privileges", error);
        landlock?.Lay();
        plan.Broker?.SetInherited(true);
        CloseInherited(plan);
        ExecuteAgain(plan, [words[0], .. arguments.Select(Encoding.UTF8.GetBytes)], environment);
    }

    /// <summary>
    /// Allows the system calls of a plan only, on every thread there is and will be. Everything a run needs is open. Does nothing where
    /// the kernel has no filters: <see cref="Lacks"/> says so.
    /// </summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static void Close(SandboxPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        if (!plan.KeepsCore && plan.Layers.HasFlag(SandboxLayers.Privileges)) SandboxCalls.SetDumpable(false);
        BrokerLink.Current?.Enclose(plan.All.Where(access => access.Kind is HostAccessKind.Listen or HostAccessKind.Connect
            && access.Path.Length > 0).Select(access => Path.GetFullPath(access.Path)));
        if (!HasFilters(plan)) return;
        // Its handler is the last code that is written in memory.
        _ = BusErrorGuard.IsInstalled;
        // A filter of its own, and the first: the C library tries these calls for every thread, which is no news for the kernel's log.
        Lay(SystemCallFilter.Assemble(SystemCallTable.Absent, rest: SystemCallFilter.Allow), logs: false);
        Lay(SystemCallFilter.Assemble(SystemCallTable.For(plan, Environment.ProcessId), plan.Action), logs: true);
    }

    /// <summary>
    /// As <see cref="Close(SandboxPlan)"/>, for a process whose threads that serve guests lay a filter of their own:
    /// <see cref="EnterThread"/>.
    /// </summary>
    /// <param name="plan">What is kept.</param>
    /// <param name="prepare">Makes what can be made no more after: called if there are filters.</param>
    internal static void Close(SandboxPlan plan, Action prepare)
    {
        ArgumentNullException.ThrowIfNull(plan);
        bool filters = HasFilters(plan);
        if (filters)
        {
            prepare();
            StartWorkers();
        }
        Close(plan);
        if (filters) KeepFilters(plan);
    }

    /// <summary>Lays the filter of a kind on the calling thread, and so on those that it starts; nothing if there is none.</summary>
    /// <exception cref="KernelException">The kernel refuses.</exception>
    internal static void EnterThread(ThreadKind kind)
    {
        if (!OfThreads.TryGetValue(kind, out BpfInstruction[]? filter)) return;
        Errno error = SandboxCalls.InstallFilter(filter, logs: true, everyThread: false);
        if (error != Errno.None) throw new KernelException("cannot lay the filter of a thread's system calls", error);
    }

    private static bool HasFilters(SandboxPlan plan) =>
        plan.Layers.HasFlag(SandboxLayers.SystemCalls) && SandboxCalls.HasFilters(KillProcess);

    private static void KeepFilters(SandboxPlan plan)
    {
        foreach (ThreadKind kind in Enum.GetValues<ThreadKind>())
        {
            if (SystemCallTable.For(plan, Environment.ProcessId, kind) is { } rules)
                OfThreads[kind] = SystemCallFilter.Assemble(rules, plan.Action);
        }
    }

    /// <summary>
    /// A thread has the filters of the one that starts it, and the pool's work is the whole process's: its threads, which the program
    /// keeps, start now, and not when a reactor first has work for them. The last of them to begin lets all go.
    /// </summary>
    private static void StartWorkers()
    {
        ThreadPool.GetMinThreads(out int workers, out _);
        CountdownEvent all = new(workers);
        for (int i = 0; i < workers; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static all =>
            {
                all.Signal();
                all.Wait();
            }, all, preferLocal: false);
        }
        all.Wait();
    }

    private static void Lay(BpfInstruction[] filter, bool logs)
    {
        Errno error = SandboxCalls.InstallFilter(filter, logs);
        if (error != Errno.None) throw new KernelException("cannot lay the filter of system calls", error);
    }

    /// <summary>
    /// What a shell or a service manager left open is closed, unless an option names a descriptor, or it was passed on purpose.
    /// </summary>
    private static void CloseInherited(SandboxPlan plan)
    {
        const uint firstOfServices = 3;
        bool names = plan.Accesses.Concat(plan.Opened).Any(access => access.Path.Contains("/fd/", StringComparison.Ordinal));
        _ = uint.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), out uint passed);
        if (names) return;
        int[] brokers = plan.Broker is { } broker ? [broker.Requests, broker.Connections] : [];
        int[] kept = [.. plan.Descriptors.Where(ProcessDescriptors.IsInherited), .. brokers];
        SandboxCalls.CloseOnExecute(firstOfServices + passed);
        foreach (int descriptor in kept) SandboxCalls.KeepOnExecute(descriptor);
    }

    private static void ExecuteAgain(SandboxPlan plan, byte[][] words, byte[][] environment)
    {
        byte[][] marks = [Encoding.UTF8.GetBytes($"{Mark}="), Encoding.UTF8.GetBytes($"{BrokerLink.Variable}=")];
        string[] own = [$"{Mark}={Environment.ProcessId}",
            .. plan.Broker is { } broker ? [$"{BrokerLink.Variable}={broker.Requests}:{broker.Connections}"] : (string[])[]];
        Errno error = SandboxCalls.Execute("/proc/self/exe", words,
            [.. environment.Where(each => !marks.Any(mark => each.AsSpan().StartsWith(mark))), .. own.Select(Encoding.UTF8.GetBytes)]);
        throw new KernelException("cannot execute this program again in its sandbox", error,
            "look whether its file is still there and may be read, or give --sandbox=off");
    }

    private static byte[][] Split(byte[] texts)
    {
        List<byte[]> parts = [];
        for (ReadOnlySpan<byte> rest = texts; rest.Length > 0;)
        {
            int end = rest.IndexOf((byte)0);
            parts.Add(rest[..(end < 0 ? rest.Length : end)].ToArray());
            rest = end < 0 ? [] : rest[(end + 1)..];
        }
        return [.. parts];
    }
}
