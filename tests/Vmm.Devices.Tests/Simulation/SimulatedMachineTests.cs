using System.Security.Cryptography;
using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public abstract class SimulatedMachineTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private static DeviceHostOptions Options => new() { Poller = Poller };

    private const int MiB = 1 << 20;
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(60);

    private readonly ScratchImage _image = new(MiB);

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(16, 4)]
    public void The_guest_computes_the_checksum_the_host_computes(int mebibytes, int vcpus)
    {
        WriteRandomImage(mebibytes * MiB);
        Assert.Equal($"sha256 vda {HostHash()}\n", RunWell("sha256 vda; poweroff", vcpus));
    }

    [Fact]
    public void A_size_that_is_no_multiple_of_any_request_is_read_to_its_end()
    {
        WriteRandomImage(3 * MiB + 512);
        Assert.Equal($"sha256 vda {HostHash()}\n", RunWell("sha256 vda"));
    }

    [Theory]
    [InlineData(4, 4)]
    [InlineData(4, 1)]
    [InlineData(3, 2)]
    [InlineData(1, 1)]
    public void What_all_CPUs_fill_is_what_the_host_finds_and_the_guest_verifies(int vcpus, int queues)
    {
        _image.Bytes = new byte[16 * MiB + 512];
        string output = RunWell("fill vda 42; verify vda 42; sha256 vda", vcpus, queues);
        byte[] expected = new byte[16 * MiB + 512];
        DiskPattern.Fill(42, 0, expected);
        Assert.Equal(expected, _image.Bytes);
        Assert.Equal($"fill vda 42 ok\nverify vda 42 ok\nsha256 vda {HostHash()}\n", output);
    }

    [Fact]
    public void Requests_of_any_size_fill_the_same_and_find_it_again()
    {
        _image.Bytes = new byte[MiB + 512];
        Assert.Equal("fill vda 42 ok\nverify vda 42 ok\nverify vda 42 ok\n", RunWell("fill vda 42 1536; verify vda 42 4K; verify vda 42", 2));
        byte[] expected = new byte[MiB + 512];
        DiskPattern.Fill(42, 0, expected);
        Assert.Equal(expected, _image.Bytes);
    }

    [Theory]
    [InlineData("0", "0")]
    [InlineData("700", "700")]
    [InlineData("128K", "131072")]
    public void A_request_that_can_not_be_made_is_told_in_a_sentence(string typed, string bytes)
    {
        Assert.False(Run($"fill vda 1 {typed}", out string output).Succeeded);
        Assert.Equal($"error: vda: a request of {bytes} bytes can't be made: give whole sectors of 512 bytes, 65536 at most\n", output);
    }

    [Fact]
    public void A_single_wrong_byte_fails_the_verification_and_names_its_sector()
    {
        RunWell("fill vda 7", 2);
        byte[] content = _image.Bytes;
        content[1234 * 512 + 100] ^= 1;
        _image.Bytes = content;
        MachineResult result = Run("verify vda 7; poweroff", out string output, vcpus: 2);
        Assert.Equal((MachineEnd.PoweredOff, 1u), (result.End, result.Status));
        Assert.Equal("error: vda: sector 1234 is not what seed 7 makes\n", output);
    }

    [Theory]
    [InlineData(0, 512)]
    [InlineData(5, 3)]
    [InlineData(500, 30)]
    [InlineData(1000, 5000)]
    [InlineData(MiB - 1, 1)]
    public void Bytes_are_written_at_any_offset_and_nothing_beside_them(int offset, int length)
    {
        WriteRandomImage(MiB);
        byte[] expected = _image.Bytes;
        byte[] data = new byte[length];
        new Random(2).NextBytes(data);
        data.CopyTo(expected, offset);
        string hex = Convert.ToHexStringLower(data);
        string output = RunWell($"write vda {offset} {hex}; flush vda; read vda {offset} {length}");
        Assert.Equal(hex + "\n", output);
        Assert.Equal(expected, _image.Bytes);
    }

    [Fact]
    public void A_long_read_prints_every_byte()
    {
        WriteRandomImage(MiB);
        Assert.Equal(Convert.ToHexStringLower(_image.Bytes.AsSpan(3, 300_000)) + "\n", RunWell("read vda 3 300000"));
    }

    [Fact]
    public void A_read_only_disk_is_read_and_stays_as_it_was()
    {
        WriteRandomImage(MiB);
        string before = HostHash();
        DateTime written = File.GetLastWriteTimeUtc(_image.Path);
        MachineResult result = Run("write vda 0 ff; fill vda 1; trim vda 0 4096; sha256 vda", out string output, readOnly: true);
        Assert.Equal(1u, result.Status);
        Assert.Equal(3, output.Split('\n').Count(line => line.StartsWith("error: vda: ", StringComparison.Ordinal)));
        Assert.EndsWith($"sha256 vda {before}\n", output);
        Assert.Equal(before, HostHash());
        Assert.Equal(written, File.GetLastWriteTimeUtc(_image.Path));
    }

    [Fact]
    public void A_trimmed_range_reads_as_zero_and_nothing_beside_it()
    {
        WriteRandomImage(MiB);
        byte[] expected = _image.Bytes;
        expected.AsSpan(64 * 1024, 128 * 1024).Clear();
        RunWell("trim vda 64K 128K");
        Assert.Equal(expected, _image.Bytes);
        Assert.Equal(1u, Run("trim vda 1 512", out _).Status);
    }

    [Fact]
    public void Commands_that_can_not_be_done_say_why_and_fail_the_run_but_the_rest_runs()
    {
        MachineResult result = Run("frobnicate; sha256 vdb; read vda 1048576 1; read vda 2; lsdev; stats; help; poweroff; lsdev", out string output);
        Assert.Equal((MachineEnd.PoweredOff, 1u), (result.End, result.Status));
        string[] lines = output.Split('\n');
        Assert.Equal("error: unknown command 'frobnicate': try 'help'", lines[0]);
        Assert.Equal("error: vdb: no such disk, 'lsdev' lists the devices", lines[1]);
        Assert.Equal("error: vda: 1 bytes at 1048576 are beyond the disk's 1048576", lines[2]);
        Assert.Equal("error: read: something is missing, use 'read DISK OFFSET LENGTH'", lines[3]);
        Assert.StartsWith("vda: disk, 1048576 bytes, 1 queue, registers at 0x", lines[4]);
        Assert.StartsWith("vda: 1 requests, 512 bytes", lines[5]);
        Assert.StartsWith("help", lines[6]);
        Assert.StartsWith("poweroff", lines[^2]);
    }

    [Fact]
    public void A_host_that_fails_is_an_error_in_the_guest_and_the_machine_goes_on()
    {
        BlockDevice disk = new("vda", new FaultyBackend { Fault = _ => Errno.NoSpace });
        MachineResult result = Run("fill vda 1; flush vda; read vda 0 512; lsdev", out string output, [disk]);
        Assert.Equal((MachineEnd.PoweredOff, 1u), (result.End, result.Status));
        string[] lines = output.Split('\n');
        Assert.Equal("error: vda: cannot read 512 bytes at sector 0: I/O error", lines[0]);
        Assert.Matches("^error: vda: cannot write 65536 bytes at sector [0-9]+: I/O error$", lines[1]);
        Assert.Equal("error: vda: cannot flush: I/O error", lines[2]);
        Assert.Equal("error: vda: cannot read 512 bytes at sector 0: I/O error", lines[3]);
        Assert.StartsWith("vda: disk", lines[4]);
    }

    [Fact]
    public void Random_bytes_come_from_the_device_as_many_as_asked_for()
    {
        Assert.True(Run("rng 0; rng 5; rng 10000; lsdev", out string output, [new EntropyDevice("rng0", new Counting())]).Succeeded, output);
        string[] lines = output.Split('\n');
        byte[] expected = [.. Enumerable.Range(0, 10_005).Select(i => (byte)i)];
        Assert.Equal("", lines[0]);
        Assert.Equal(Convert.ToHexStringLower(expected, 0, 5), lines[1]);
        Assert.Equal(Convert.ToHexStringLower(expected, 5, 10_000), lines[2]);
        Assert.StartsWith("rng0: random bytes", lines[3]);
        Assert.Equal(1u, Run("rng 1", out output, []).Status);
        Assert.Equal("error: no device gives random bytes\n", output);
    }

    [Fact]
    public void Packed_rings_carry_the_same()
    {
        _image.Bytes = new byte[4 * MiB];
        BlockDevice disk = new("vda", RawImage.Open(_image.Path), new DiskSpec { Queues = 2 });
        using DeviceHost host = new(new SimulatedBoard(64 * MiB), new DeviceHostOptions
        {
            Poller = Poller,
            CommonFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors,
        }, disk, new EntropyDevice("rng0"));
        using MemoryStream console = new();
        host.AddSerial("ttyS0", new SerialPortOptions { Script = "fill vda 9; verify vda 9; rng 16\n"u8.ToArray(), Output = SerialOutput.To(console) });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = 4 });
        Assert.True(machine.Run(TestContext.Current.CancellationToken).Succeeded, Encoding.UTF8.GetString(console.ToArray()));
        byte[] expected = new byte[4 * MiB];
        DiskPattern.Fill(9, 0, expected);
        Assert.Equal(expected, _image.Bytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.IndirectDescriptors)]
    public void Whatever_the_rings_offer_is_enough(ulong features)
    {
        _image.Bytes = new byte[2 * MiB];
        BlockDevice disk = new("vda", RawImage.Open(_image.Path), new DiskSpec { Queues = 1 });
        using DeviceHost host = new(new SimulatedBoard(64 * MiB),
            new DeviceHostOptions { Poller = Poller, CommonFeatures = features, Reactors = 2 }, disk);
        host.AddSerial("ttyS0", new SerialPortOptions { Script = "fill vda 9; verify vda 9\n"u8.ToArray() });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = 3 });
        Assert.True(machine.Run(TestContext.Current.CancellationToken).Succeeded);
    }

    [Fact]
    public void Several_disks_have_names_of_their_own()
    {
        using ScratchImage other = new(2 * MiB);
        BlockDevice vda = new("vda", RawImage.Open(_image.Path));
        BlockDevice vdb = new("vdb", RawImage.Open(other.Path));
        Assert.True(Run("fill vdb 3; write vda 0 aa", out string output, [vda, vdb]).Succeeded, output);
        byte[] expected = new byte[2 * MiB];
        DiskPattern.Fill(3, 0, expected);
        Assert.Equal(expected, other.Bytes);
        Assert.Equal(0xaa, _image.Bytes[0]);
    }

    [Fact]
    public async Task A_stop_in_the_middle_of_a_fill_leaves_whole_sectors_old_or_new()
    {
        _image.Bytes = new byte[64 * MiB];
        using CancellationTokenSource stop = new();
        using DeviceHost host = new(new SimulatedBoard(),
            Options, new BlockDevice("vda", RawImage.Open(_image.Path), new DiskSpec { Queues = 2 }));
        host.AddSerial("ttyS0", new SerialPortOptions { Script = Encoding.UTF8.GetBytes(EndlessFill + "\n") });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = 2 });
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), CancellationToken.None);
        SpinWait.SpinUntil(() => ((SimulatedBoard)host.Board).DirectKicks > 50, Watchdog);
        stop.Cancel();
        Assert.Equal(MachineEnd.Stopped, (await Ended(run)).End);
        byte[] content = _image.Bytes;
        for (int sector = 0; sector < content.Length / 512; sector++)
        {
            ReadOnlySpan<byte> bytes = content.AsSpan(sector * 512, 512);
            Assert.True(bytes.IndexOfAnyExcept((byte)0) < 0 || DiskPattern.Match(5, (ulong)sector, bytes) == 512, $"sector {sector} is torn");
        }
    }

    [Fact]
    public async Task A_machine_that_waits_at_its_console_is_stopped()
    {
        using CancellationTokenSource stop = new(TimeSpan.FromMilliseconds(50));
        using Terminal terminal = new();
        Assert.Equal(MachineEnd.Stopped, (await Ended(terminal.Start(stop.Token))).End);
    }

    [Fact]
    public async Task A_person_types_edits_and_aborts()
    {
        using Terminal terminal = new();
        Task<MachineResult> run = terminal.Start(TestContext.Current.CancellationToken);
        terminal.ReadUntil("guest> ");
        terminal.Type("halp\u007f\u007f\u007felp\r");
        Assert.Contains("poweroff", terminal.ReadUntil("guest> "));
        terminal.Type("nonsense\u0015lsdev\r");
        Assert.DoesNotContain("error", terminal.ReadUntil("guest> "));
        terminal.Type("abandoned\u0003");
        Assert.EndsWith("^C\r\nguest> ", terminal.ReadUntil("guest> "));
        terminal.Type("poweroff\r");
        Assert.True((await Ended(run)).Succeeded);
    }

    [Fact]
    public async Task Control_C_aborts_the_command_that_runs()
    {
        const ulong ManyHours = 1ul << 44;
        BlockDevice disk = new("vda", RawImage.Open(_image.Path), new DiskSpec { Queues = 2 });
        // However late the key comes, the command still runs: a disk of so many bytes is not full before.
        BlockDevice endless = new("vdb", new FaultyBackend { CapacityBytes = ManyHours, KeepsContent = false });
        using Terminal terminal = new(disk, endless);
        Task<MachineResult> run = terminal.Start(TestContext.Current.CancellationToken);
        terminal.ReadUntil("guest> ");
        terminal.Type("fill vda 5; fill vdb 5; fill vda 6\r");
        terminal.ReadUntil("ok\r\n");
        terminal.Type("\u0003");
        Assert.Contains("interrupted", terminal.ReadUntil("guest> "));
        terminal.Type("read vda 0 1\r");
        terminal.ReadUntil("guest> ");
        terminal.Type("\u0004");
        Assert.True((await Ended(run)).Succeeded);
    }

    [Theory]
    [InlineData(0, 256, "1 to 64")]
    [InlineData(65, 256, "1 to 64")]
    [InlineData(1, 8, "at least 9 MiB")]
    [InlineData(64, 15, "at least 16 MiB")]
    public void A_machine_that_can_not_be_is_refused_with_a_sentence(int vcpus, ulong mebibytes, string expected)
    {
        using DeviceHost host = new(new SimulatedBoard(mebibytes << 20), Options);
        host.AddSerial("ttyS0");
        ArgumentException refused = Assert.Throws<ArgumentException>(
            () => new SimulatedMachine(host, new SimulatedMachineOptions { Vcpus = vcpus }));
        Assert.Contains(expected, refused.Message);
    }

    [Fact]
    public void A_machine_without_a_console_is_refused()
    {
        using DeviceHost host = new(new SimulatedBoard(), Options);
        Assert.Contains("console", Assert.Throws<ArgumentException>(() => new SimulatedMachine(host)).Message);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    public void The_smallest_memory_is_enough(int vcpus)
    {
        ulong memory = SimulatedMachineOptions.MemoryBytesMin(vcpus);
        BlockDevice disk = new("vda", RawImage.Open(_image.Path), new DiskSpec { Queues = vcpus });
        Assert.True(Run("fill vda 1; verify vda 1", out string output, [disk], vcpus, memory: memory).Succeeded, output);
    }

    public void Dispose()
    {
        _image.Dispose();
        GC.SuppressFinalize(this);
    }

    private static Task<MachineResult> Ended(Task<MachineResult> run) => run.WaitAsync(Watchdog, TestContext.Current.CancellationToken);

    private static string EndlessFill => string.Join(';', Enumerable.Repeat("fill vda 5", 300));

    private void WriteRandomImage(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(1).NextBytes(content);
        _image.Bytes = content;
    }

    private string HostHash() => Convert.ToHexStringLower(SHA256.HashData(_image.Bytes));

    private string RunWell(string commands, int vcpus = 1, int? queues = null)
    {
        MachineResult result = Run(commands, out string output, vcpus, queues);
        Assert.True(result.Succeeded, $"{result}\n{output}");
        return output;
    }

    private MachineResult Run(string commands, out string output, int vcpus = 1, int? queues = null, bool readOnly = false)
    {
        BlockDevice disk = new("vda", RawImage.Open(_image.Path, readOnly), new DiskSpec { Queues = queues ?? vcpus });
        return Run(commands, out output, [disk], vcpus);
    }

    private static MachineResult Run(string commands, out string output, VirtioDevice[] devices, int vcpus = 1, ulong memory = 64 * MiB)
    {
        using MemoryStream console = new();
        using CancellationTokenSource watchdog = new(Watchdog);
        using DeviceHost host = new(new SimulatedBoard(memory), Options, devices);
        host.AddSerial("ttyS0", new SerialPortOptions { Script = Encoding.UTF8.GetBytes(commands + "\n"), Output = SerialOutput.To(console) });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = vcpus });
        MachineResult result = machine.Run(watchdog.Token);
        output = Encoding.UTF8.GetString(console.ToArray());
        return result;
    }

    private sealed class Counting : IEntropySource
    {
        private byte _next;

        public Errno Fill(Span<byte> span)
        {
            foreach (ref byte value in span) value = _next++;
            return Errno.None;
        }
    }

    /// <summary>A person at the console of a machine: a socket in the place of a terminal.</summary>
    private sealed class Terminal : IDisposable
    {
        private readonly SocketPair _line = new();
        private readonly DeviceHost _host;
        private readonly SimulatedMachine _machine;

        internal Terminal(params VirtioDevice[] devices)
        {
            _host = new DeviceHost(new SimulatedBoard(), Options, devices);
            _host.AddSerial("ttyS0", new SerialPortOptions { Input = _line.TakeFd(), Output = SerialOutput.To(_line.TakeFd()) });
            _machine = new SimulatedMachine(_host, new SimulatedMachineOptions { Vcpus = 2, Interactive = true });
        }

        internal Task<MachineResult> Start(CancellationToken stop) => Task.Run(() => _machine.Run(stop), CancellationToken.None);

        internal void Type(string keys) => _line.Host.Send(Encoding.UTF8.GetBytes(keys));

        internal string ReadUntil(string end)
        {
            StringBuilder text = new();
            byte[] bytes = new byte[1];
            _line.Host.ReceiveTimeout = (int)Watchdog.TotalMilliseconds;
            while (!text.ToString().EndsWith(end, StringComparison.Ordinal))
            {
                Assert.Equal(1, _line.Host.Receive(bytes));
                text.Append((char)bytes[0]);
            }
            return text.ToString();
        }

        public void Dispose()
        {
            _machine.Dispose();
            _host.Dispose();
            _line.Dispose();
        }
    }
}

public sealed class SimulatedMachineOnEpollTests() : SimulatedMachineTests(PollerKind.Epoll);

public sealed class SimulatedMachineOnIoRingTests() : SimulatedMachineTests(PollerKind.IoRing);
