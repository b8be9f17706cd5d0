using System.Globalization;

namespace Vmm.Devices.Sandbox;

/// <summary>
/// Gives up the rights of this process in two steps. <see cref="Enclose"/> lays what acts on one thread only, on both threads that a
/// native program has before it starts any; <see cref="Close(SandboxPlan)"/> lays the filter of system calls on all threads at once,
/// before the first byte of a guest is read.
/// </summary>
public static class ProcessSandbox
{
    /// <summary>The first thread, and the one of the runtime that calls finalizers.</summary>
    private const int ThreadsOfProgram = 2;

    /// <summary>The filters of threads that serve a guest. Written before these threads begin.</summary>
    private static readonly Dictionary<ThreadKind, BpfInstruction[]> OfThreads = [];

    private const uint KillProcess = SystemCallFilter.KillProcess;

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
    /// Becomes the plan's user, drops capabilities, and keeps only the files and ports of the plan, on both threads of a program that has
    /// started none. Threads that these start have no more. For a program that is one native file: others have more threads.
    /// </summary>
    /// <param name="plan">What is kept.</param>
    /// <exception cref="ArgumentException">The plan's user makes no sense. Nothing was given up yet.</exception>
    /// <exception cref="IOException">
    /// The kernel refuses something, or this process has other threads; the message says what. The process cannot go on: some of its rights
    /// are lost.
    /// </exception>
    public static void Enclose(SandboxPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        CheckThreads();
        // Libraries that find users by name are not there in a root of its own.
        if (plan.User is { } user) plan = plan with { User = Privileges.NumbersOf(user) };
        using FinalizerThread other = FinalizerThread.Borrow();
        Privileges.MakeFilesAsUser(plan);
        int left = plan.Layers.HasFlag(SandboxLayers.Namespaces) ? PrivateRoot.Enter(plan) : 0;
        if (left != 0) other.Do(() => NamespaceCalls.Follow(left));
        Privileges.BecomeUser(plan);
        // The kernel writes no core file of a process that became another user, unless it is asked to.
        if (plan is { User: not null, KeepsCore: true }) SandboxCalls.SetDumpable(true);
        using Landlock? landlock = plan.Layers.HasFlag(SandboxLayers.Files) ? Landlock.For(plan) : null;
        bool drops = plan.Layers.HasFlag(SandboxLayers.Privileges);
        ulong kept = drops ? Privileges.KeptCapabilities(plan) : 0;
        GiveUp();
        other.Do(GiveUp);
        // A thread that started meanwhile may have had all rights.
        CheckThreads();
        CloseInherited(plan);
        if (plan.Broker is { } broker) BrokerLink.Use(broker.Requests, broker.Connections);

        void GiveUp()
        {
            if (drops)
            {
                Privileges.DropCapabilities(kept);
                Privileges.Limit(plan);
            }
            Errno error = SandboxCalls.SetNoNewPrivileges();
            if (error != Errno.None) throw new KernelException("cannot give up new privileges", error);
            landlock?.Lay();
        }
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
        if (!HasFilters(plan))
        {
            Close(plan);
            return;
        }
        // They start while this thread has other work.
        CountdownEvent workers = StartWorkers();
        prepare();
        Close(plan);
        KeepFilters(plan);
        workers.Wait();
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
    /// <returns>Is set when all run.</returns>
    private static CountdownEvent StartWorkers()
    {
        ThreadPool.GetMinThreads(out int workers, out _);
        CountdownEvent all = new(workers);
        for (int i = 0; i < workers; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static all =>
            {
                // Without looking again and again, which takes processors from those that start.
                if (!all.Signal()) all.WaitHandle.WaitOne();
            }, all, preferLocal: false);
        }
        return all;
    }

    private static void Lay(BpfInstruction[] filter, bool logs)
    {
        Errno error = SandboxCalls.InstallFilter(filter, logs);
        if (error != Errno.None) throw new KernelException("cannot lay the filter of system calls", error);
    }

    private static void CheckThreads()
    {
        string[] threads = Directory.GetDirectories("/proc/self/task");
        if (threads.Length != ThreadsOfProgram)
            throw new IOException($"this process has {threads.Length} threads before it goes into its sandbox, and only {ThreadsOfProgram} "
                + "are known to lose their rights: look for what starts others in it, such as LD_PRELOAD or DOTNET_gcServer, "
                + "or give --sandbox=off");
    }

    /// <summary>
    /// What a shell or a service manager left open is closed, unless an option names a descriptor, or it was passed on purpose.
    /// </summary>
    private static void CloseInherited(SandboxPlan plan)
    {
        if (plan.All.Any(access => access.Path.Contains("/fd/", StringComparison.Ordinal))) return;
        _ = int.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), NumberStyles.None, CultureInfo.InvariantCulture, out int passed);
        ProcessDescriptors.CloseInherited(passed, plan.Descriptors);
    }
}
