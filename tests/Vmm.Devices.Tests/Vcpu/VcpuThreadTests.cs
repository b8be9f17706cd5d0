namespace Vmm.Devices.Tests;

public sealed class VcpuThreadTests
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly Bus _mmio = new("mmio");
    private readonly Bus _port = new("port");
    private readonly TaskCompletionSource<VcpuEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    [Fact]
    public async Task Exits_go_to_the_bus_and_are_counted_by_kind()
    {
        Latch mmio = new();
        Latch port = new();
        _mmio.Add(0x1000, 8, mmio);
        _port.Add(0x60, 8, port);
        ScriptedVcpu vcpu = new(
            new(VcpuExitKind.MmioWrite, 0x1000, [1, 2, 3, 4], 4),
            new(VcpuExitKind.PortWrite, 0x64, [5], 1),
            new(VcpuExitKind.MmioRead, 0x1000, [0, 0], 2),
            new(VcpuExitKind.PortRead, 0x64, [0], 1),
            new(VcpuExitKind.SystemEvent, 7, [], 0));
        using VcpuThread thread = Start(vcpu);
        Assert.Equal(new VcpuEnd(VcpuEndReason.SystemEvent, 7), await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken));
        Assert.Equal([1, 2, 3, 4], mmio.Written);
        Assert.Equal([5], port.Written);
        Assert.Equal([Latch.Answer, Latch.Answer], vcpu.Exits[2].Data);
        Assert.Equal([Latch.Answer], vcpu.Exits[3].Data);
        Assert.All(Enum.GetValues<VcpuExitKind>(), kind => Assert.Equal(vcpu.Exits.Count(exit => exit.Kind == kind), thread.ExitCount(kind)));
        Assert.Equal(0, thread.UnhandledExits);
    }

    [Fact]
    public async Task The_last_8_exits_are_remembered_for_a_message_the_latest_first()
    {
        Exit[] exits = [.. Enumerable.Range(0, 10).Select(i => new Exit(VcpuExitKind.PortWrite, 0x80 + (ulong)i, [0], 1)), new(VcpuExitKind.Shutdown, 0, [], 0)];
        using VcpuThread thread = Start(new ScriptedVcpu(exits));
        await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        Assert.Equal("Shutdown, " + string.Join(", ", Enumerable.Range(3, 7).Reverse().Select(i => $"PortWrite 1 at 0x{0x80 + i:x}")), thread.LastExits);
    }

    [Fact]
    public async Task A_string_of_port_accesses_reaches_the_same_port_one_after_the_other()
    {
        Latch port = new();
        _port.Add(0x60, 2, port);
        using VcpuThread thread = Start(new ScriptedVcpu(
            new(VcpuExitKind.PortWrite, 0x60, [1, 2, 3, 4, 5, 6], 2),
            new(VcpuExitKind.Shutdown, 0, [], 0)));
        Assert.Equal(VcpuEndReason.Shutdown, (await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken)).Reason);
        Assert.Equal([1, 2, 3, 4, 5, 6], port.Written);
        Assert.Equal([0ul, 0ul, 0ul], port.Offsets);
    }

    [Fact]
    public async Task Accesses_that_reach_no_device_are_answered_and_counted()
    {
        ScriptedVcpu vcpu = new(
            new(VcpuExitKind.MmioRead, 0x9000, [0, 0], 2),
            new(VcpuExitKind.PortWrite, 0x80, [0], 1),
            new(VcpuExitKind.Halt, 0, [], 0));
        using VcpuThread thread = Start(vcpu);
        Assert.Equal(VcpuEndReason.Halted, (await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken)).Reason);
        Assert.Equal([0xff, 0xff], vcpu.Exits[0].Data);
        Assert.Equal(2, thread.UnhandledExits);
    }

    [Fact]
    public async Task What_is_thrown_on_the_thread_is_told_to_the_machine()
    {
        _mmio.Add(0, 8, new Thrower());
        using VcpuThread thread = Start(new ScriptedVcpu(new Exit(VcpuExitKind.MmioRead, 0, [0], 1)));
        VcpuEnd end = await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        Assert.Equal(VcpuEndReason.Failed, end.Reason);
        Assert.IsType<NotSupportedException>(end.Failure);
    }

    [Fact]
    public async Task A_stop_asked_for_before_the_start_is_not_lost()
    {
        using VcpuThread thread = new(new ScriptedVcpu(), _mmio, _port, (_, end) => _end.SetResult(end));
        thread.RequestStop();
        thread.Start();
        Assert.Equal(VcpuEndReason.Stopped, (await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken)).Reason);
        Assert.True(thread.Join(Watchdog));
    }

    [Fact]
    public async Task A_vcpu_that_waits_comes_out_when_it_is_asked_to_stop()
    {
        using VcpuThread thread = Start(new ScriptedVcpu());
        thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await _end.Task.WaitAsync(Watchdog, TestContext.Current.CancellationToken)).Reason);
        Assert.True(thread.Join(Watchdog));
    }

    private VcpuThread Start(IVcpu vcpu)
    {
        VcpuThread thread = new(vcpu, _mmio, _port, (_, end) => _end.SetResult(end));
        thread.Start();
        return thread;
    }

    private sealed record Exit(VcpuExitKind Kind, ulong Address, byte[] Data, int Width);

    /// <summary>Comes out for the given reasons, then waits until it is asked to come out.</summary>
    private sealed class ScriptedVcpu(params Exit[] exits) : IVcpu
    {
        private readonly SemaphoreSlim _asked = new(0);
        private int _next;

        internal Exit[] Exits => exits;

        public int Index => 0;

        public VcpuExit Run()
        {
            if (_next < exits.Length)
            {
                Exit exit = exits[_next++];
                return new VcpuExit(exit.Kind, exit.Address, exit.Data, exit.Width);
            }
            Assert.True(_asked.Wait(Watchdog));
            return new VcpuExit(VcpuExitKind.Interrupted, 0, default, 0);
        }

        public void RequestExit() => _asked.Release();

        public void Dispose() => _asked.Dispose();
    }

    private sealed class Latch : IBusDevice
    {
        internal const byte Answer = 0x5a;

        internal List<byte> Written { get; } = [];
        internal List<ulong> Offsets { get; } = [];

        public void Read(ulong offset, Span<byte> data) => data.Fill(Answer);

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            Offsets.Add(offset);
            Written.AddRange(data);
        }
    }

    private sealed class Thrower : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => throw new NotSupportedException();

        public void Write(ulong offset, ReadOnlySpan<byte> data) => throw new NotSupportedException();
    }
}
