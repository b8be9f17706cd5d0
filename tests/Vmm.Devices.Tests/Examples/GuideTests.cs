using System.Security.Cryptography;
using Iced.Intel;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests;
using Vmm.Devices.Tests.Kvm;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Devices.VhostUser;
using Vmm.Events;
using Vmm.Examples.Guide;
using static Iced.Intel.AssemblerRegisters;

namespace Examples;

/// <summary>The programs of docs/guide do what their pages say.</summary>
public sealed class GuideTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-guide-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Guide_1_rings_times_and_calls() => Assert.Equal(["due", "kicked", "2 handlers ran"], FirstReactor.Run());

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(64 * 1024)]
    [InlineData(300_000)]
    public async Task Guide_2_copies_a_file(int bytes)
    {
        byte[] content = RandomNumberGenerator.GetBytes(bytes);
        await File.WriteAllBytesAsync(PathOf("from"), content, TestContext.Current.CancellationToken);
        using Vmm.Events.ReactorThread thread = new();
        thread.Start();
        Assert.Equal(bytes, await FileCopy.CopyAsync(thread, PathOf("from"), PathOf("to")));
        Assert.Equal(content, await File.ReadAllBytesAsync(PathOf("to"), TestContext.Current.CancellationToken));
        await Assert.ThrowsAsync<KernelException>(() => FileCopy.CopyAsync(thread, PathOf("missing"), PathOf("to")));
    }

    [Fact]
    public void Guide_3_delivers_a_letter() => Snippets.PostALetter();

    [Fact]
    public void Guide_3_keeps_letters_for_a_guest_that_is_not_there_yet_and_refuses_too_many()
    {
        MailboxDevice mailbox = new("mailbox");
        for (int i = 0; i < 1024; i++) Assert.True(mailbox.TryPost([(byte)i]));
        Assert.False(mailbox.TryPost([0]));
        using SimulatedGuest guest = SimulatedGuest.For(mailbox);
        DriverRequest buffer = guest.Queue(0).Add(writable: [1]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal([0], buffer.Written);
        Assert.True(mailbox.TryPost([0]));
    }

    public static TheoryData<string, ulong> Ordeals => new(DeviceBattery.Cases);

    [Theory, MemberData(nameof(Ordeals))]
    public void Guide_3_survives_every_ordeal(string check, ulong ring) => new DeviceBattery(
        () => new MailboxDevice("mailbox"),
        new BatteryRequest(0, [], 8) { Provoke = device => ((MailboxDevice)device).TryPost("letter"u8.ToArray()), IsStream = true })
        .Run(check, ring);

    [Fact]
    public async Task Guide_4_hosts_its_devices()
    {
        await File.WriteAllBytesAsync(PathOf("disk.img"), new byte[1 << 20], TestContext.Current.CancellationToken);
        List<string> reported = [];
        TaskCompletionSource posted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddMachine(PathOf("disk.img"), line =>
        {
            reported.Add(line);
            if (line == "posted") posted.SetResult();
        });
        using IHost application = builder.Build();
        await application.StartAsync(TestContext.Current.CancellationToken);
        await posted.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        await application.StopAsync(TestContext.Current.CancellationToken);
        Assert.Contains("mailbox, 1 queues", reported);
    }

    [Fact]
    public async Task Guide_5_serves_a_disk()
    {
        await File.WriteAllBytesAsync(PathOf("disk.img"), new byte[1 << 20], TestContext.Current.CancellationToken);
        TaskCompletionSource serving = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using CancellationTokenSource stop = new();
        Task server = Task.Run(() => ServedDisk.Serve(PathOf("disk.img"), PathOf("s"), line =>
        {
            if (line.StartsWith("serving", StringComparison.Ordinal)) serving.SetResult();
        }, stop.Token), TestContext.Current.CancellationToken);
        await serving.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        using (DiskDriver driver = new(VhostUserFrontend.Connect(PathOf("s")))) driver.WriteSector(3, 0x5a);
        await stop.CancelAsync();
        await server;
        Assert.Equal(0x5a, (await File.ReadAllBytesAsync(PathOf("disk.img"), TestContext.Current.CancellationToken))[3 * 512]);
    }

    [KvmFact]
    public void Guide_6_runs_a_kernel_whose_port_it_answers()
    {
        // Reads the port, writes one more than it says, and powers off.
        File.WriteAllBytes(PathOf("kernel"), ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(edx, 0x510);
            c.@in(al, dx);
            c.inc(al);
            c.@out(dx, al);
            KernelCode.PowerOff(c);
        }), pvh: true));
        List<byte> written = [];
        MachineResult result = SmallMonitor.Boot(PathOf("kernel"), image: null, Stream.Null, written.Add, TestContext.Current.CancellationToken);
        Assert.Equal(MachineEnd.PoweredOff, result.End);
        Assert.Equal([0x5b], written);
    }

    [KvmFact]
    public void Guide_6_puts_a_monitor_together_whose_doorbell_never_exits_and_whose_state_is_kept()
    {
        const uint LocalApic = 0xfee0_0000, IoApic = 0xfec0_0000, Pin = 5, Vector = 0x40;
        File.WriteAllBytes(PathOf("kernel"), ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            // The own port: two writes, and what it says of them.
            c.mov(edx, 0x510);
            c.@out(dx, al);
            c.@out(dx, al);
            c.@in(al, dx);
            c.movzx(esi, al);
            // The doorbell's pin raises a vector, which is waited for in the local APIC's request register.
            c.mov(__dword_ptr[LocalApic + 0xf0], 0x1ff);
            c.mov(__dword_ptr[IoApic], 0x10 + 2 * Pin);
            c.mov(__dword_ptr[IoApic + 0x10], Vector);
            c.mov(__dword_ptr[IoApic], 0x11 + 2 * Pin);
            c.mov(__dword_ptr[IoApic + 0x10], 0);
            c.mov(edx, 0x520);
            c.@out(dx, al);
            Label wait = c.CreateLabel();
            c.Label(ref wait);
            c.mov(eax, __dword_ptr[LocalApic + 0x200 + (Vector / 32 * 0x10)]);
            c.test(eax, 1);
            c.jz(wait);
            c.mov(edx, 0x600);
            c.mov(eax, (AcpiPowerControl.SleepTypeOff << 2) | 0x20);
            c.@out(dx, al);
            KvmGuest.Spin(c);
        }), pvh: true));
        using OwnMonitor monitor = new(PathOf("kernel"));
        Assert.Equal(VcpuEndReason.Stopped, monitor.Run().Reason);
        Assert.Equal(2, monitor.Counter.Count);
        Assert.Equal(2ul, monitor.Registers.Rsi);
        // Two of the own port and the power switch: the doorbell is none.
        Assert.Equal(3, monitor.Exits(VcpuExitKind.PortWrite));

        using MemoryStream saved = new();
        monitor.Save(saved);
        monitor.Registers = monitor.Registers with { Rsi = 77 };
        Assert.Equal(77ul, monitor.Registers.Rsi);
        monitor.Restore(saved.ToArray());
        Assert.Equal(2ul, monitor.Registers.Rsi);
    }

    private string PathOf(string name) => Path.Combine(_directory, name);
}
