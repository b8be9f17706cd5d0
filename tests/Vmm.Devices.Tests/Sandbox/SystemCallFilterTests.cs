using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.Sandbox;
using Vmm.Events;
using Vmm.Tests.House;
using Vmm.Tests.Native;
using static Vmm.Devices.Sandbox.Condition;

namespace Vmm.Devices.Tests;

/// <summary>Tables of system calls become programs, and the kernel takes them as we mean them.</summary>
[Collection(Alone.Name)]
public sealed class SystemCallFilterTests
{
    private const int Process = 4711;
    private const uint Refused = SystemCallFilter.NotPermitted, Allowed = SystemCallFilter.Allow, Killed = SystemCallFilter.KillProcess;
    private const int Mmap = 9, Ioctl = 16, Socket = 41, Connect = 42, Clone = 56, Execve = 59, Kill = 62, Prlimit = 302, Unknown = 999;
    private const int Bind = 49, Accept = 288, IoUringSetup = 425;

    private static readonly HostAccess[] Everything = [.. Enum.GetValues<HostAccessKind>().Select(kind => new HostAccess(kind, "/x", 1))];

    [Fact]
    public void What_is_in_no_line_is_refused_and_an_attack_ends_the_process()
    {
        Assert.Equal(Refused, Say(Unknown));
        Assert.Equal(Killed, Say(Execve));
        Assert.Equal(Allowed, Say(0));
    }

    [Theory]
    [InlineData(SystemCallAction.Kill, Killed, Killed)]
    [InlineData(SystemCallAction.Log, SystemCallFilter.LogAndAllow, SystemCallFilter.LogAndAllow)]
    public void What_becomes_of_the_rest_is_an_option(SystemCallAction action, uint rest, uint attack)
    {
        BpfInstruction[] program = Program(Plan() with { Action = action });
        Assert.Equal(rest, BpfMachine.Run(program, Unknown, []));
        Assert.Equal(rest, BpfMachine.Run(program, Kill, [1]));
        Assert.Equal(attack, BpfMachine.Run(program, Execve, []));
    }

    [Fact]
    public void Calls_of_other_architectures_and_of_x32_end_the_process()
    {
        BpfInstruction[] program = Program(Plan());
        Assert.Equal(Killed, BpfMachine.Run(program, 3, [], architecture: 0x40000003));
        Assert.Equal(Killed, BpfMachine.Run(program, 0x40000000, []));
        Assert.Equal(Killed, BpfMachine.Run(program, -1, []));
    }

    [Fact]
    public void Arguments_decide_where_a_call_can_do_more_than_we_want()
    {
        BpfInstruction[] program = Program(Plan());
        (int Call, ulong[] Good, ulong[] Bad)[] cases =
        [
            (Mmap, [0, 4096, 3], [0, 4096, 7]),
            (Ioctl, [1, 0x5401], [1, 0x5412]),
            (Clone, [0x3d0f00], [0x11]),
            (Clone, [0x3d0f00], [0x3d0f00 | 0x10000000]),
            (Kill, [Process, 15], [1, 15]),
            (Prlimit, [0, 7, 0, 0x1000], [0, 7, 0x1_0000_0000, 0]),
        ];
        Assert.All(cases, each =>
        {
            Assert.Equal(Allowed, BpfMachine.Run(program, each.Call, each.Good));
            Assert.Equal(Refused, BpfMachine.Run(program, each.Call, each.Bad));
        });
    }

    [Fact]
    public void A_plan_widens_the_table_by_what_it_opens_later_only()
    {
        ulong[] unix = [1, 1, 0], inet = [2, 1, 0];
        HostAccess listens = new(HostAccessKind.Listen, "/s"), connects = new(HostAccessKind.Connect, "/s"), tcp = new(HostAccessKind.ConnectTcp, Port: 1);
        Assert.Equal(Refused, Say(Plan(), Socket, unix));
        Assert.Equal(Refused, Say(Plan() with { Opened = [listens] }, Socket, unix));
        Assert.Equal(Allowed, Say(Plan(listens), Socket, unix));
        Assert.Equal(Refused, Say(Plan(listens), Connect));
        Assert.Equal(Allowed, Say(Plan(connects), Connect));
        Assert.Equal(Refused, Say(Plan(connects), Socket, inet));
        Assert.Equal(Allowed, Say(Plan(tcp), Socket, inet));
        Assert.Equal(Refused, Say(Plan(), Ioctl, [0, KvmRequest.KVM_RUN]));
        Assert.Equal(Allowed, Say(Plan() with { NeedsKvm = true }, Ioctl, [0, KvmRequest.KVM_RUN]));
        Assert.Equal(Refused, Say(Plan(), Ioctl, [0, TunCalls.SetInterface]));
        Assert.Equal(Allowed, Say(Plan(new HostAccess(HostAccessKind.Tap, "vm0")), Ioctl, [0, TunCalls.SetInterface]));
        Assert.Equal(Allowed, Say(Plan(new HostAccess(HostAccessKind.Libraries)), Mmap, [0, 4096, 7]));
    }

    [Fact]
    public void Every_call_has_the_number_that_the_kernels_headers_give_it()
    {
        SystemCallRule[] rules = [.. SystemCallTable.For(Plan(Everything) with { NeedsKvm = true }, Process)];
        Assert.Equal(rules.Length, rules.Select(rule => rule.Number).Distinct().Count());
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(["sys/syscall.h"], [.. rules.Select(rule => $"__NR_{rule.Name}")]);
        Assert.All(rules, rule => Assert.Equal(theirs[$"__NR_{rule.Name}"], rule.Number));
    }

    /// <summary>The program finds a rule by halving the table, over jumps that have to go to the right half.</summary>
    [Fact]
    public void Every_line_of_a_table_is_found_and_nothing_between_them()
    {
        SystemCallRule[] rules = [.. SystemCallTable.For(Plan(Everything) with { NeedsKvm = true }, Process)];
        BpfInstruction[] program = SystemCallFilter.Assemble(rules.Select(rule => rule with { Conditions = [] }), SystemCallAction.Refuse);
        ILookup<int, Verdict> verdicts = rules.ToLookup(rule => rule.Number, rule => rule.Verdict);
        for (int call = 0; call <= rules.Max(rule => rule.Number) + 1; call++)
        {
            uint expected = !verdicts.Contains(call) ? Refused : verdicts[call].Single() == Verdict.Allow ? Allowed : Killed;
            Assert.Equal(expected, BpfMachine.Run(program, call, []));
        }
    }

    [Fact]
    public void What_is_allowed_is_made_by_a_command_or_on_the_page_with_the_reason_why_it_stays()
    {
        string[] page = File.ReadAllLines(RepositoryTree.PathOf("docs", "system-calls.md"));
        int runtime = Array.IndexOf(page, "## Made by the runtime at any time"), rest = Array.IndexOf(page, "## Allowed, and made by none of these");
        // The last column is of 'run', which has no sandbox.
        string[] made = [.. Rows(page[..runtime]).Where(row => row.Skip(1).SkipLast(1).Contains("x")).Select(row => row[0])];
        string[] atAnyTime = [.. Rows(page[runtime..rest]).SelectMany(row => row[0].Split(", "))];
        string[] unmade = [.. Rows(page[rest..]).SelectMany(row => row[0].Split(", "))];
        SandboxPlan widest = Plan(Everything) with { NeedsKvm = true, SavesMachines = true, DevicesComeLater = true };
        string[] allowed =
        [
            .. SystemCallTable.For(widest, Process).Where(rule => rule.Verdict == Verdict.Allow).Select(rule => rule.Name).Distinct()
                .Order(StringComparer.Ordinal),
        ];
        Assert.Empty(made.Concat(atAnyTime).Except(allowed));
        Assert.Equal(allowed.Except(made).Except(atAnyTime), unmade.Order(StringComparer.Ordinal));

        static IEnumerable<string[]> Rows(string[] lines) => lines.Where(line => line.StartsWith("| ", StringComparison.Ordinal))
            .Select(line => line.Trim('|').Split('|').Select(cell => cell.Trim()).ToArray()).Where(row => row[0] is not ("call" or "calls"));
    }

    [Fact]
    public void A_thread_that_serves_a_guest_may_do_what_its_kind_does()
    {
        SandboxPlan machine =
            Plan([.. Everything.Where(access => access.Kind != HostAccessKind.Libraries)]) with { NeedsKvm = true, SavesMachines = true };
        const int preadv = 295, mkdir = 83, bind = 49, openat = 257;
        ulong[] run = [0, KvmRequest.KVM_RUN], interrupt = [0, KvmRequest.KVM_IRQ_LINE], map = [0, KvmRequest.KVM_SET_USER_MEMORY_REGION];
        BpfInstruction[] process = Program(machine), vcpu = Of(ThreadKind.Vcpu), reactor = Of(ThreadKind.Reactor);
        (int Call, ulong[] Arguments, bool Process, bool Reactor, bool Vcpu)[] cases =
        [
            (Ioctl, run, true, false, true), (Ioctl, interrupt, true, true, true), (Ioctl, map, true, false, false),
            (Socket, [1, 1, 0], true, true, false), (Connect, [], true, true, false), (bind, [], true, false, false),
            (preadv, [], true, true, false), (mkdir, [], true, false, false), (openat, [], true, true, true),
            (IoUringSetup, [], false, false, false),
        ];
        Assert.All(cases, each => Assert.Equal((each.Process, each.Reactor, each.Vcpu),
            (Allows(process, each), Allows(reactor, each), Allows(vcpu, each))));

        BpfInstruction[] Of(ThreadKind kind) => SystemCallFilter.Assemble(SystemCallTable.For(machine, Process, kind)!, machine.Action);

        static bool Allows(BpfInstruction[] program, (int Call, ulong[] Arguments, bool, bool, bool) each) =>
            BpfMachine.Run(program, each.Call, each.Arguments) == Allowed;
    }

    [Fact]
    public void No_kind_of_thread_may_do_more_than_its_process()
    {
        SandboxPlan[] plans =
        [
            Plan(), Plan(Everything), Plan() with { NeedsKvm = true },
            .. Enum.GetValues<HostAccessKind>().Select(kind => Plan(new HostAccess(kind, "/x", 1))),
        ];
        foreach (SandboxPlan plan in plans)
        {
            HashSet<string> whole = [.. SystemCallTable.For(plan, Process).Select(rule => rule.Name)];
            foreach (ThreadKind kind in Enum.GetValues<ThreadKind>())
                Assert.Empty((SystemCallTable.For(plan, Process, kind) ?? []).Select(rule => rule.Name).Except(whole));
        }
    }

    [Fact]
    public void A_reactor_listens_only_where_devices_come_while_it_runs()
    {
        Assert.False(Allows(Plan()));
        Assert.True(Allows(Plan() with { DevicesComeLater = true }));

        static bool Allows(SandboxPlan plan) =>
            BpfMachine.Run(SystemCallFilter.Assemble(SystemCallTable.For(plan, Process, ThreadKind.Reactor)!, plan.Action), Bind, []) == Allowed;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_kernel_refuses_a_thread_what_its_kind_does_not_do(bool isVcpu)
    {
        ThreadKind kind = isVcpu ? ThreadKind.Vcpu : ThreadKind.Reactor;
        int[] errors = [];
        SandboxThread.Run(() =>
        {
            _ = SandboxCalls.SetNoNewPrivileges();
            errors = Try();
            BpfInstruction[] filter = ForCompiledCode(SystemCallTable.For(Plan() with { NeedsKvm = true }, Environment.ProcessId, kind)!);
            Assert.Equal(Errno.None, SandboxCalls.InstallFilter(filter, logs: false, everyThread: false));
            errors = [.. errors, .. Try()];
        });
        const int noSuchDescriptor = 9, notPermitted = 1;
        Assert.Equal(
            [noSuchDescriptor, noSuchDescriptor, noSuchDescriptor, kind == ThreadKind.Reactor ? notPermitted : noSuchDescriptor,
                kind == ThreadKind.Vcpu ? notPermitted : noSuchDescriptor, notPermitted],
            errors);

        // Of no descriptor: what is allowed says so.
        static int[] Try() => [Failure(Ioctl, KvmRequest.KVM_RUN), Failure(Accept, 0), Failure(Bind, 0)];

        static int Failure(long call, long argument)
        {
            Assert.Equal(-1, SystemCall(call, -1, argument, 0, 0));
            return Marshal.GetLastPInvokeError();
        }
    }

    [Fact]
    public void Conditions_look_at_the_halves_that_the_kernel_looks_at()
    {
        Assert.Equal((Allowed, Refused), Of(OneOf(1, 5, 6), [0, 0xffff_ffff_0000_0006], [0, 7]));
        Assert.Equal((Allowed, Refused), Of(Without(0, 6), [9], [4]));
        Assert.Equal((Allowed, Refused), Of(With(0, 6), [7], [4]));
        Assert.Equal((Allowed, Refused), Of(Null(2), [1, 1, 0], [0, 0, 1ul << 32]));

        static (uint Good, uint Bad) Of(Condition condition, ulong[] good, ulong[] bad)
        {
            BpfInstruction[] program = SystemCallFilter.Assemble([new("call", 7, Verdict.Allow, condition)], SystemCallAction.Refuse);
            return (BpfMachine.Run(program, 7, good), BpfMachine.Run(program, 7, bad));
        }
    }

    [Fact]
    public void A_jump_that_goes_back_or_too_far_is_not_assembled()
    {
        BpfLabel back = new(), far = new();
        Assert.Throws<InvalidOperationException>(() => new BpfAssembler().Mark(back).Equal(1, back, null).Assemble());
        BpfAssembler program = new BpfAssembler().Equal(1, far, null);
        for (int i = 0; i < 256; i++) program.Return(0);
        Assert.Throws<InvalidOperationException>(() => program.Mark(far).Return(0).Assemble());
    }

    [Fact]
    public void The_kernel_does_what_the_table_says()
    {
        Errno[] errors = [];
        Errno laid = Errno.NotImplemented;
        // Without TSYNC a filter is this thread's alone, and gone with it.
        SandboxThread.Run(() =>
        {
            _ = SandboxCalls.SetNoNewPrivileges();
            errors = Try();
            laid = SandboxCalls.InstallFilter(ForCompiledCode(SystemCallTable.For(Plan(), Environment.ProcessId)), logs: false, everyThread: false);
            errors = [.. errors, .. Try()];
        });
        Assert.Equal(Errno.None, laid);
        Assert.Equal([Errno.None, Errno.None, Errno.None, Errno.NotPermitted], errors);

        static Errno[] Try() => [Made(SocketCalls.SOCK_STREAM, pair: true), Made(SocketCalls.SOCK_STREAM, pair: false)];

        static Errno Made(int type, bool pair)
        {
            if (pair)
            {
                (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
                a.Dispose();
                b.Dispose();
                return Errno.None;
            }
            int fd = SocketCalls.Socket(SocketCalls.AF_UNIX, type, 0);
            if (fd < 0) return (Errno)Marshal.GetLastPInvokeError();
            new OwnedFd(fd).Dispose();
            return Errno.None;
        }
    }

    [DllImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static extern long SystemCall(long number, long a, long b, long c, long d);

    /// <summary>The compiler of a test makes memory that is executed, at a call that was not made before or was made often.</summary>
    private static BpfInstruction[] ForCompiledCode(IEnumerable<SystemCallRule> rules) => SystemCallFilter.Assemble(
        rules.Select(rule => rule.Name is "mmap" or "mprotect" ? rule with { Conditions = [] } : rule), Plan().Action);

    private static SandboxPlan Plan(params HostAccess[] accesses) => new() { Accesses = accesses };

    private static BpfInstruction[] Program(SandboxPlan plan, int process = Process) =>
        SystemCallFilter.Assemble(SystemCallTable.For(plan, process), plan.Action);

    private static uint Say(int call, params ulong[] arguments) => Say(Plan(), call, arguments);

    private static uint Say(SandboxPlan plan, int call, params ulong[] arguments) => BpfMachine.Run(Program(plan), call, arguments);
}
