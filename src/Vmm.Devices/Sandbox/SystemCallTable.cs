using static Vmm.Devices.Sandbox.Condition;

namespace Vmm.Devices.Sandbox;

/// <summary>
/// The system calls of a process that serves devices, and why it makes them. What is in no line is refused. A name is followed by its
/// number on x86-64. Threads that serve a guest have a table of their own beside: a call has to be in both.
/// </summary>
internal static class SystemCallTable
{
    private const uint AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10;
    private const uint CLONE_VM = 0x100, CLONE_THREAD = 0x10000;
    /// <summary>CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; and CLONE_PTRACE.</summary>
    private const uint CLONE_NEW = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x2000;
    private const uint PROT_EXEC = 4;
    private const uint PR_SET_NAME = 15, PR_GET_NAME = 16, PR_SET_VMA = 0x53564d41;

    /// <summary>TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ: raw mode and the size of a terminal. TIOCSTI is not among them.</summary>
    private static readonly uint[] OfTerminals = [0x5401, 0x5402, 0x5403, 0x5404, 0x5413];

    /// <summary>TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER: a pseudo-terminal is made.</summary>
    private static readonly uint[] OfPseudoTerminals = [0x80045430, 0x40045431, 0x5441];

    /// <summary>FIONREAD, FIONBIO, FIOCLEX, and what a disk is asked: BLKROGET, BLKGETSIZE64, its block sizes and zones.</summary>
    private static readonly uint[] OfFiles =
    [
        0x541b, 0x5421, 0x5451, FileCalls.BLKROGET, 0x80081272, FileCalls.BLKSSZGET, FileCalls.BLKPBSZGET, FileCalls.BLKGETZONESZ,
        FileCalls.LOOP_GET_STATUS64,
    ];

    /// <summary>Those of TunCalls, and SIOCGIFINDEX, by which a TAP interface that was deleted is seen to be there again.</summary>
    private static readonly uint[] OfInterfaces =
    [
        (uint)TunCalls.SetInterface, (uint)TunCalls.SetOffload, (uint)TunCalls.SetHeaderLength, (uint)TunCalls.SetQueue,
        (uint)TunCalls.SetCarrier, 0x8933,
    ];

    /// <summary>A device interrupts the guest.</summary>
    private static readonly uint[] OfInterrupts = [KvmRequest.KVM_IRQ_LINE, KvmRequest.KVM_SIGNAL_MSI];

    /// <summary>What a vCPU's own thread asks of it: to run, and where it is if it cannot go on.</summary>
    private static readonly uint[] OfVcpus =
    [
        KvmRequest.KVM_RUN, KvmRequest.KVM_SET_SIGNAL_MASK, KvmRequest.KVM_GET_REGS, KvmRequest.KVM_GET_SREGS,
        KvmRequest.KVM_GET_VCPU_EVENTS, .. OfInterrupts,
    ];

    /// <summary>
    /// Those of KvmRequest, the most frequent first. What debugs a guest, or gives it a device of the host, is not among them.
    /// </summary>
    private static readonly uint[] OfKvm =
    [
        KvmRequest.KVM_RUN, .. OfInterrupts,
        KvmRequest.KVM_GET_API_VERSION, KvmRequest.KVM_CREATE_VM, KvmRequest.KVM_GET_MSR_INDEX_LIST, KvmRequest.KVM_CHECK_EXTENSION,
        KvmRequest.KVM_GET_VCPU_MMAP_SIZE, KvmRequest.KVM_GET_SUPPORTED_CPUID, KvmRequest.KVM_CREATE_VCPU, KvmRequest.KVM_GET_DIRTY_LOG,
        KvmRequest.KVM_SET_USER_MEMORY_REGION, KvmRequest.KVM_SET_TSS_ADDR, KvmRequest.KVM_SET_IDENTITY_MAP_ADDR,
        KvmRequest.KVM_CREATE_IRQCHIP, KvmRequest.KVM_GET_IRQCHIP, KvmRequest.KVM_SET_IRQCHIP, KvmRequest.KVM_SET_GSI_ROUTING,
        KvmRequest.KVM_IRQFD, KvmRequest.KVM_CREATE_PIT2, KvmRequest.KVM_IOEVENTFD, KvmRequest.KVM_SET_CLOCK, KvmRequest.KVM_GET_CLOCK,
        KvmRequest.KVM_GET_PIT2, KvmRequest.KVM_SET_PIT2, KvmRequest.KVM_ENABLE_CAP, KvmRequest.KVM_GET_REGS, KvmRequest.KVM_SET_REGS,
        KvmRequest.KVM_GET_SREGS, KvmRequest.KVM_SET_SREGS, KvmRequest.KVM_GET_MSRS, KvmRequest.KVM_SET_MSRS,
        KvmRequest.KVM_SET_SIGNAL_MASK, KvmRequest.KVM_GET_LAPIC, KvmRequest.KVM_SET_LAPIC, KvmRequest.KVM_SET_CPUID2,
        KvmRequest.KVM_GET_MP_STATE, KvmRequest.KVM_SET_MP_STATE, KvmRequest.KVM_GET_VCPU_EVENTS, KvmRequest.KVM_SET_VCPU_EVENTS,
        KvmRequest.KVM_GET_DEBUGREGS, KvmRequest.KVM_SET_DEBUGREGS, KvmRequest.KVM_GET_TSC_KHZ, KvmRequest.KVM_GET_XSAVE,
        KvmRequest.KVM_SET_XSAVE, KvmRequest.KVM_GET_XCRS, KvmRequest.KVM_SET_XCRS, KvmRequest.KVM_KVMCLOCK_CTRL,
        KvmRequest.KVM_GET_STATS_FD, KvmRequest.KVM_SET_TSC_KHZ, KvmRequest.KVM_GET_XSAVE2, KvmRequest.KVM_GET_NESTED_STATE,
        KvmRequest.KVM_SET_NESTED_STATE,
    ];

    /// <summary>
    /// Of a userfaultfd that was opened before: a guest goes on while it is saved. And FICLONE: its disks are saved as they are then.
    /// </summary>
    private static readonly uint[] OfSaves =
        [UserFaultCalls.UFFDIO_WRITEPROTECT, UserFaultCalls.UFFDIO_REGISTER, UserFaultCalls.UFFDIO_UNREGISTER, FileCalls.FICLONE];

    /// <summary>
    /// F_DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, OFD locks, DUPFD_CLOEXEC, GETPIPE_SZ, ADD_SEALS and GET_SEALS.
    /// F_SETOWN, by which the kernel signals another process, is not among them.
    /// </summary>
    private static readonly uint[] OfDescriptors = [0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1033, 1034];

    /// <summary>
    /// What this kernel does not have, for this process: the flags of clone3 are in memory, where no filter sees them, and the C library
    /// falls back to clone.
    /// </summary>
    internal static IReadOnlyList<SystemCallRule> Absent { get; } = [new("clone3", 435, Verdict.Absent)];

    /// <summary>The table for a plan: what any thread of the process does.</summary>
    /// <param name="plan">What the process keeps.</param>
    /// <param name="process">Its number: it signals itself only.</param>
    internal static IEnumerable<SystemCallRule> For(SandboxPlan plan, int process)
    {
        // librbd and the C library's resolver are loaded late, and have threads and system calls of their own.
        bool loads = plan.Has(HostAccessKind.Libraries);
        bool tcp = plan.Has(HostAccessKind.ConnectTcp), connects = Connects(plan);
        return
        [
            Ioctl([.. plan.NeedsKvm ? OfKvm : [], .. plan.SavesMachines ? OfSaves : [], .. OfFilesAndDevices(plan)]),
            .. Waiting, .. OfRings, .. OfQueues, .. Bytes, .. Transfers, .. Memory(loads), .. Opening, .. Files,
            .. Threads((uint)process), .. Sockets, .. Narrowing,
            .. connects || MakesEndpoints(plan) || plan.WillOpen(HostAccessKind.Listen, HostAccessKind.Tap)
                ? [NewSocket(tcp), .. Listening] : (SystemCallRule[])[],
            .. connects ? Connections : [],
            .. loads ? OfLibraries : [],
            .. plan is { SavesMachines: true, HasBroker: false } ? Saving : [],
            .. Attacks,
        ];
    }

    /// <summary>
    /// The table of a thread that serves a guest, which is laid on it beside the one of the process; null if it would forbid nothing more.
    /// </summary>
    /// <param name="plan">What the process keeps.</param>
    /// <param name="process">Its number.</param>
    /// <param name="kind">What the thread does.</param>
    internal static IEnumerable<SystemCallRule>? For(SandboxPlan plan, int process, ThreadKind kind) => kind switch
    {
        // Guest memory, what a device's registers do at once, and the collector, which looks at the memory of the host.
        ThreadKind.Vcpu =>
        [
            Ioctl([.. OfVcpus, .. OfTerminals]), .. Waiting, .. Bytes, .. Memory(loads: false), .. Opening, .. Threads((uint)process),
        ],
        // A library's calls are not known to us.
        ThreadKind.Reactor when plan.Has(HostAccessKind.Libraries) => null,
        // It changes no machine and saves none, and makes no endpoint that others find.
        ThreadKind.Reactor =>
        [
            Ioctl([.. plan.NeedsKvm ? OfInterrupts : [], .. OfFilesAndDevices(plan)]),
            .. Waiting, .. OfRings, .. OfQueues, .. Bytes, .. Transfers, .. Memory(loads: false), .. Opening, .. Files,
            .. Threads((uint)process), .. Sockets,
            .. Connects(plan) || MakesEndpoints(plan) || plan.WillOpen(HostAccessKind.Tap)
                ? [NewSocket(plan.Has(HostAccessKind.ConnectTcp))] : (SystemCallRule[])[],
            .. Connects(plan) ? Connections : [],
            // A device that comes while its reactor runs listens there.
            .. MakesEndpoints(plan) ? Listening : [],
        ],
        _ => null,
    };

    /// <summary>Whether endpoints are made for devices that come later.</summary>
    private static bool MakesEndpoints(SandboxPlan plan) => plan is { DevicesComeLater: true, HasBroker: false };

    private static bool Connects(SandboxPlan plan) => plan.Has(HostAccessKind.ConnectTcp) || plan.WillOpen(HostAccessKind.Connect);

    private static uint[] OfFilesAndDevices(SandboxPlan plan) =>
    [
        .. OfFiles, .. OfTerminals, .. plan.Has(HostAccessKind.Terminal) ? OfPseudoTerminals : [],
        .. plan.Has(HostAccessKind.Tap) || plan.DevicesComeLater ? OfInterfaces : [],
    ];

    private static SystemCallRule Ioctl(uint[] requests) => Allow("ioctl", 16, OneOf(1, requests));

    /// <summary>A reactor waits, and other threads wake it.</summary>
    private static SystemCallRule[] Waiting =>
    [
        Allow("epoll_wait", 232), Allow("epoll_ctl", 233), Allow("epoll_create1", 291), Allow("epoll_pwait", 281),
        Allow("poll", 7), Allow("ppoll", 271), Allow("eventfd2", 290), Allow("timerfd_create", 283), Allow("timerfd_settime", 286),
        Allow("futex", 202), Allow("pipe2", 293), Allow("pidfd_open", 434), Allow("inotify_init1", 294),
        Allow("inotify_add_watch", 254), Allow("inotify_rm_watch", 255),
    ];

    /// <summary>
    /// What a ring does no filter sees. So all of ours are made before, restricted each to what it is for, and none is made any more.
    /// </summary>
    private static SystemCallRule[] OfRings => [Allow("io_uring_enter", 426), Allow("io_uring_register", 427)];

    /// <summary>Front-ends are interrupted by what completes (SignalQueue): reads and writes of descriptors, and nothing else.</summary>
    private static SystemCallRule[] OfQueues => [Allow("io_setup", 206), Allow("io_destroy", 207), Allow("io_submit", 209)];

    /// <summary>Bytes of what a descriptor stands for: eventfds, consoles, logs.</summary>
    private static SystemCallRule[] Bytes =>
    [
        Allow("read", 0), Allow("write", 1), Allow("readv", 19), Allow("writev", 20), Allow("getrandom", 318), Allow("lseek", 8),
    ];

    /// <summary>Bytes of disks, networks and sockets.</summary>
    private static SystemCallRule[] Transfers =>
    [
        Allow("pread64", 17), Allow("pwrite64", 18),
        Allow("preadv", 295), Allow("pwritev", 296), Allow("preadv2", 327), Allow("pwritev2", 328), Allow("recvmsg", 47),
        Allow("sendmsg", 46), Allow("recvfrom", 45), Allow("sendto", 44), Allow("splice", 275), Allow("fsync", 74),
        Allow("fdatasync", 75), Allow("fallocate", 285), Allow("ftruncate", 77), Allow("fadvise64", 221),
    ];

    /// <summary>Guest memory and the heap. Nothing that can be written becomes code, unless a library is loaded.</summary>
    private static SystemCallRule[] Memory(bool loads) =>
    [
        loads ? Allow("mmap", 9) : Allow("mmap", 9, Without(2, PROT_EXEC)),
        loads ? Allow("mprotect", 10) : Allow("mprotect", 10, Without(2, PROT_EXEC)),
        Allow("munmap", 11), Allow("mremap", 25), Allow("madvise", 28), Allow("brk", 12), Allow("membarrier", 324),
        Allow("memfd_create", 319), Allow("msync", 26), Allow("mbind", 237), Allow("get_mempolicy", 239),
    ];

    /// <summary>Files are opened anew for logs, certificates and terminals, and by the collector; which ones, Landlock decides.</summary>
    private static SystemCallRule[] Opening =>
    [
        Allow("openat", 257), Allow("open", 2), Allow("close", 3), Allow("stat", 4), Allow("fstat", 5),
        Allow("lstat", 6), Allow("newfstatat", 262), Allow("statx", 332), Allow("statfs", 137), Allow("fstatfs", 138),
        Allow("access", 21), Allow("faccessat", 269), Allow("faccessat2", 439), Allow("readlink", 89), Allow("readlinkat", 267),
        Allow("getdents64", 217), Allow("getcwd", 79), Allow("fcntl", 72, OneOf(1, OfDescriptors)),
    ];

    /// <summary>What is done with files beside reading and writing them.</summary>
    private static SystemCallRule[] Files =>
    [
        Allow("unlink", 87), Allow("unlinkat", 263), Allow("flock", 73),
        // The mode of a socket is set before it has a path.
        Allow("fchmod", 91), Allow("umask", 95),
    ];

    /// <summary>Threads of this process start, end, are interrupted, and find out where they run.</summary>
    private static SystemCallRule[] Threads(uint process) =>
    [
        Allow("clone", 56, With(0, CLONE_VM | CLONE_THREAD), Without(0, CLONE_NEW)),
        // Refused before this table is looked at.
        Allow("clone3", 435),
        Allow("set_robust_list", 273), Allow("set_tid_address", 218), Allow("rseq", 334), Allow("exit", 60), Allow("exit_group", 231),
        Allow("gettid", 186), Allow("getpid", 39), Allow("getuid", 102), Allow("geteuid", 107), Allow("getgid", 104),
        Allow("getegid", 108), Allow("tgkill", 234, OneOf(0, process)), Allow("kill", 62, OneOf(0, process)),
        Allow("rt_sigaction", 13), Allow("rt_sigprocmask", 14), Allow("rt_sigreturn", 15), Allow("rt_sigtimedwait", 128),
        Allow("sigaltstack", 131), Allow("restart_syscall", 219), Allow("sched_yield", 24), Allow("sched_getaffinity", 204),
        Allow("sched_setaffinity", 203, OneOf(0, 0)), Allow("getcpu", 309),
        Allow("prctl", 157, OneOf(0, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA)), Allow("prlimit64", 302, Null(2)), Allow("getrlimit", 97),
        Allow("getrusage", 98), Allow("sysinfo", 99), Allow("uname", 63), Allow("nanosleep", 35),
        Allow("clock_nanosleep", 230), Allow("clock_gettime", 228), Allow("clock_getres", 229), Allow("gettimeofday", 96),
        Allow("time", 201),
    ];

    /// <summary>A thread that begins to serve a guest gives up what its kind has no use for. No other process is asked.</summary>
    private static SystemCallRule[] Narrowing =>
        [Allow("seccomp", 317, OneOf(0, SandboxCalls.SECCOMP_SET_MODE_FILTER), OneOf(1, SandboxCalls.SECCOMP_FILTER_FLAG_LOG))];

    /// <summary>Sockets that listen, and the connections that come.</summary>
    private static SystemCallRule[] Sockets =>
    [
        Allow("accept4", 288), Allow("shutdown", 48), Allow("socketpair", 53, OneOf(0, AF_UNIX)),
        Allow("getsockopt", 55), Allow("setsockopt", 54), Allow("getsockname", 51), Allow("getpeername", 52),
    ];

    /// <summary>A socket for a connection, or to ask for the index of an interface.</summary>
    private static SystemCallRule NewSocket(bool tcp) => Allow("socket", 41, OneOf(0, tcp ? [AF_UNIX, AF_INET, AF_INET6] : [AF_UNIX]));

    /// <summary>Endpoints of consoles and balloons are made when reactors run.</summary>
    private static SystemCallRule[] Listening => [Allow("bind", 49), Allow("listen", 50)];

    /// <summary>
    /// vsock, cables and NBD connect when a guest or a server comes again. Landlock knows TCP ports, and no paths of sockets.
    /// </summary>
    private static SystemCallRule[] Connections => [Allow("connect", 42)];

    /// <summary>A snapshot is written aside, and gets its name when it is whole.</summary>
    private static SystemCallRule[] Saving => [Allow("mkdir", 83), Allow("renameat2", 316)];

    /// <summary>What libraries that are loaded late do beyond that, or may: not all of their code is known to us.</summary>
    private static SystemCallRule[] OfLibraries =>
    [
        Allow("mkdir", 83), Allow("chmod", 90), Allow("rename", 82), Allow("getresuid", 118), Allow("getresgid", 120),
        Allow("sched_setscheduler", 144), Allow("mlock", 149), Allow("munlock", 150), Allow("get_robust_list", 274), Allow("pipe", 22),
        Allow("sysfs", 139), Allow("epoll_create", 213), Allow("eventfd", 284), Allow("pkey_alloc", 330), Allow("arch_prctl", 158),
        Allow("select", 23), Allow("pselect6", 270), Allow("epoll_pwait2", 441), Allow("signalfd4", 289), Allow("sync_file_range", 277),
        Allow("close_range", 436), Allow("dup", 32), Allow("dup2", 33), Allow("dup3", 292), Allow("rt_sigsuspend", 130),
        Allow("rt_sigpending", 127), Allow("sched_getparam", 143), Allow("sched_getscheduler", 145), Allow("getpriority", 140),
        Allow("times", 100), Allow("accept", 43), Allow("sendmmsg", 307), Allow("recvmmsg", 299), Allow("getppid", 110),
        Allow("mincore", 27), Allow("set_mempolicy", 238), Allow("timerfd_gettime", 287),
    ];

    /// <summary>No code of ours, of the runtime or of the C library makes these: only code that a guest brought in does.</summary>
    private static SystemCallRule[] Attacks =>
    [
        Kill("execve", 59), Kill("execveat", 322), Kill("fork", 57), Kill("vfork", 58),
        Kill("ptrace", 101), Kill("process_vm_readv", 310), Kill("process_vm_writev", 311), Kill("process_madvise", 440),
        Kill("pidfd_getfd", 438), Kill("kcmp", 312), Kill("bpf", 321), Kill("perf_event_open", 298), Kill("userfaultfd", 323),
        Kill("mount", 165), Kill("umount2", 166), Kill("pivot_root", 155), Kill("chroot", 161), Kill("open_tree", 428),
        Kill("move_mount", 429), Kill("fsopen", 430), Kill("fsconfig", 431), Kill("fsmount", 432), Kill("fspick", 433),
        Kill("mount_setattr", 442), Kill("unshare", 272), Kill("setns", 308), Kill("init_module", 175), Kill("finit_module", 313),
        Kill("delete_module", 176), Kill("kexec_load", 246), Kill("kexec_file_load", 320), Kill("reboot", 169), Kill("swapon", 167),
        Kill("swapoff", 168), Kill("add_key", 248), Kill("request_key", 249), Kill("keyctl", 250), Kill("setuid", 105), Kill("setgid", 106),
        Kill("setreuid", 113), Kill("setregid", 114), Kill("setgroups", 116), Kill("setresuid", 117), Kill("setresgid", 119),
        Kill("setfsuid", 122), Kill("setfsgid", 123), Kill("capset", 126), Kill("personality", 135), Kill("iopl", 172),
        Kill("ioperm", 173), Kill("modify_ldt", 154), Kill("name_to_handle_at", 303), Kill("open_by_handle_at", 304),
        Kill("fanotify_init", 300), Kill("mknod", 133), Kill("mknodat", 259), Kill("acct", 163), Kill("quotactl", 179),
        Kill("settimeofday", 164), Kill("clock_settime", 227), Kill("clock_adjtime", 305), Kill("adjtimex", 159),
        Kill("sethostname", 170), Kill("setdomainname", 171), Kill("syslog", 103), Kill("vhangup", 153), Kill("remap_file_pages", 216),
    ];

    private static SystemCallRule Allow(string name, int number, params Condition[] conditions) =>
        new(name, number, Verdict.Allow, conditions);

    private static SystemCallRule Kill(string name, int number) => new(name, number, Verdict.Kill);
}
