using System.Text;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What the guest's shell does with balloon and console, as its host sees it.</summary>
public sealed class GuestCommandsTests
{
    private const ulong MiB = 1 << 20;
    /// <summary>What the guest's kernel leaves of 64 MiB: its rings and one CPU's buffers take the rest.</summary>
    private const ulong Free = 62783488;
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(60);

    [Fact]
    public void What_the_balloon_takes_is_what_goes_back_to_the_host()
    {
        BalloonDevice balloon = new("balloon0");
        Assert.Equal(["balloon0: 33554432 bytes written", $"balloon0: 16777216 bytes given up, {Free - 16 * MiB} left"],
            Run("touch 32; balloon 16M", balloon).Lines);
        Assert.Equal(16 * (long)MiB, balloon.ReturnedBytes);
    }

    [Fact]
    public void A_balloon_that_shrinks_gives_its_pages_to_the_guest_again()
    {
        BalloonDevice balloon = new("balloon0");
        Assert.Contains($"balloon0: 1048576 bytes given up, {Free - MiB} left", Run("balloon 16; balloon 1; touch 58", balloon).Lines);
        Assert.Equal(0, balloon.GuestFaults);
    }

    [Fact]
    public void The_hosts_target_is_followed_before_the_first_command()
    {
        BalloonDevice balloon = new("balloon0") { TargetBytes = 8 * MiB };
        Assert.Equal($"TotalBytes {56 * MiB}", Run("balloon stats", balloon).Lines[0]);
        Assert.Equal(8 * (long)MiB, balloon.ReturnedBytes);
    }

    [Fact]
    public void A_target_beyond_memory_takes_what_is_free_and_the_machine_goes_on()
    {
        BalloonDevice balloon = new("balloon0") { TargetBytes = 4096 * MiB };
        Assert.Equal("FreeBytes 0", Run("balloon stats", balloon).Lines[1]);
    }

    [Fact]
    public void Free_pages_that_are_reported_go_back_too()
    {
        BalloonDevice balloon = new("balloon0");
        Assert.Equal($"balloon0: {Free} bytes reported", Run("touch 32; balloon report", balloon).Lines[1]);
        Assert.Equal((long)Free, balloon.ReturnedBytes);
    }

    [Fact]
    public void More_than_there_is_can_not_be_given_up_or_written()
    {
        (MachineResult result, string[] lines) = Run("balloon 100; touch 100", new BalloonDevice("balloon0"));
        Assert.Equal(1u, result.Status);
        Assert.Equal($"error: balloon0: 104857600 bytes can not be given up: of 67108864 bytes of memory {Free} are free", lines[0]);
        Assert.Equal($"error: balloon0: 104857600 bytes are more than the {Free} that are free", lines[1]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_console_carries_lines_both_ways(bool multiport)
    {
        using UnixSocket host = Connect("console", out ConsolePort port);
        StreamCalls.Write(host.Number, "hello\r\nrest"u8, out _);
        ConsolePort[] ports = multiport ? [port, new ConsolePort("agent")] : [port];
        ConsoleDevice console = new("console0", ports);
        console.Resize(132, 43);
        (MachineResult result, string[] lines) = Run("console read console; console write 0 to  the host; console list", console);
        Assert.True(result.Succeeded, string.Join('\n', lines));
        Assert.Equal("console: hello", lines[0]);
        Assert.Equal("0 console: console, 132 columns, 43 rows, host connected, 11 bytes in, 12 bytes out, 4 to read", lines[1]);
        if (multiport) Assert.Equal("1 agent: port, host away, 0 bytes in, 0 bytes out, 0 to read", lines[2]);
        byte[] got = new byte[64];
        StreamCalls.Read(host.Number, got, out int length);
        Assert.Equal("to the host\n", Encoding.UTF8.GetString(got, 0, length));
    }

    [Fact]
    public async Task An_echo_gives_back_every_byte_though_it_is_far_more_than_anyone_holds()
    {
        using UnixSocket host = Connect("console", out ConsolePort port);
        byte[] sent = BlockGuest.Pattern(4 << 20), got = new byte[sent.Length];
        Task<(MachineResult Result, string[] Lines)> run = Task.Run(() => Run("console echo console 4M", new ConsoleDevice("console0", port)), CancellationToken.None);
        int written = 0, read = 0;
        while (read < got.Length && !run.IsCompleted)
        {
            StreamCalls.Write(host.Number, sent.AsSpan(written), out int some);
            written += some;
            StreamCalls.Read(host.Number, got.AsSpan(read), out int more);
            read += more;
        }
        (MachineResult result, string[] lines) = await run.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        // The machine may end while its last bytes are in the socket.
        while (read < got.Length && StreamCalls.Read(host.Number, got.AsSpan(read), out int rest) == Errno.None && rest > 0) read += rest;
        Assert.True(result.Succeeded, string.Join('\n', lines));
        Assert.Equal(sent, got);
    }

    [Fact]
    public void A_host_that_hangs_up_ends_what_waits_for_it()
    {
        using UnixSocket host = Connect("agent", out ConsolePort port);
        StreamCalls.Write(host.Number, "last"u8, out _);
        host.Dispose();
        (MachineResult result, string[] lines) = Run("console read agent; console read agent; console echo agent; console read 7", new ConsoleDevice("console0", new ConsolePort("console", isConsole: true), port));
        Assert.Equal(1u, result.Status);
        Assert.Equal(["agent: last", "error: console0: port agent: the host hung up", "error: no port '7' of a virtio console, 'console list' lists them"], lines);
    }

    private static UnixSocket Connect(string name, out ConsolePort port)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        port = new ConsolePort(name, isConsole: name == "console");
        port.Connect(device, new DescriptorOutput(device.Duplicate()), () => { });
        return host;
    }

    private static (MachineResult Result, string[] Lines) Run(string commands, params VirtioDevice[] devices)
    {
        using MemoryStream console = new();
        using CancellationTokenSource watchdog = new(Watchdog);
        using DeviceHost host = new(new SimulatedBoard(64 * MiB), devices);
        host.AddSerial("ttyS0", new SerialPortOptions { Script = Encoding.UTF8.GetBytes(commands + "\n"), Output = SerialOutput.To(console) });
        using SimulatedMachine machine = new(host);
        MachineResult result = machine.Run(watchdog.Token);
        return (result, Encoding.UTF8.GetString(console.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
