using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Output that the host side does not read: a console never stops its guest for it, and what was dropped is counted and
/// said.</summary>
public sealed partial class ConsoleOutputTests
{
    private const int Transmit = 1;
    private const int ChunkBytes = 32 * 1024;

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.PackedRing)]
    public void A_console_without_a_reader_does_not_stop_its_guest_and_keeps_the_last_MiB(ulong ring)
    {
        ConsolePort port = new("console", isConsole: true);
        using PseudoTerminal terminal = new();
        terminal.Connect(port);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port), new SimulatedGuestOptions { Features = ring });
        byte[] sent = Print(guest, chunks: 128);

        using OwnedFd reader = new(FileCalls.Open(terminal.Path, FileCalls.O_RDWR | FileCalls.O_NONBLOCK | FileCalls.O_CLOEXEC));
        (byte[] before, long dropped, byte[] after) = SplitAtNotice(ReadAll(guest, reader.Number, sent.AsSpan(sent.Length - 1000)));
        Assert.Equal(ConsolePort.KeepBytesStandard, after.Length);
        Assert.Equal(sent[^after.Length..], after);
        Assert.Equal(sent[..before.Length], before);
        Assert.Equal((sent.Length - before.Length - after.Length, dropped), (dropped, port.DroppedBytes));
    }

    [Fact]
    public async Task A_terminal_that_is_closed_and_was_not_read_does_not_hold_up_the_end()
    {
        ConsolePort port = new("console", isConsole: true);
        PseudoTerminal terminal = new();
        terminal.Connect(port);
        SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        Print(guest, chunks: 16);
        terminal.Dispose();
        Thread end = new(guest.Dispose) { IsBackground = true };
        end.Start();
        await Task.Run(() => end.Join(TimeSpan.FromSeconds(30)), TestContext.Current.CancellationToken);
        Assert.False(end.IsAlive, "the device waits for a reader that cannot come any more");
    }

    [Fact]
    public void A_console_without_a_host_side_keeps_the_last_bytes_for_the_one_that_connects()
    {
        ConsolePort port = new("console", isConsole: true) { KeepBytes = 100_000 };
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        byte[] sent = Print(guest, chunks: 8);
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket reader = host;
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        (byte[] before, long dropped, byte[] after) = SplitAtNotice(ReadAll(guest, reader.Number, sent.AsSpan(sent.Length - 1000)));
        Assert.Empty(before);
        Assert.Equal(sent[^100_000..], after);
        Assert.Equal((sent.Length - 100_000, dropped), (dropped, port.DroppedBytes));
    }

    [Fact]
    public void A_console_that_discards_keeps_nothing_for_the_one_that_connects()
    {
        ConsolePort port = new("console", isConsole: true) { KeepBytes = 0 };
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        byte[] sent = Print(guest, chunks: 8);
        Assert.Equal(sent.Length, port.DroppedBytes);
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket reader = host;
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        guest.RunUntilIdle();
        guest.Queue(Transmit).Add(["new"u8.ToArray()]);
        guest.Kick(Transmit).RunUntilIdle();
        byte[] got = new byte[100];
        StreamCalls.Read(reader.Number, got, out int length);
        Assert.Equal("new", Encoding.ASCII.GetString(got, 0, length));
    }

    [Fact]
    public void A_console_that_discards_does_not_stop_its_guest_for_a_host_side_that_does_not_read()
    {
        ConsolePort port = new("console", isConsole: true) { KeepBytes = 0 };
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket reader = host;
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        byte[] sent = Print(guest, chunks: 64);
        Assert.InRange(port.DroppedBytes, 1, sent.Length);
    }

    [Fact]
    public void What_a_slow_reader_has_not_taken_when_the_device_ends_still_reaches_it()
    {
        ConsolePort port = new("console", isConsole: true);
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket reader = host;
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        ConsoleDevice console = new("console0", port);
        byte[] sent;
        using MemoryStream got = new();
        Thread reading = new(() =>
        {
            byte[] buffer = new byte[ChunkBytes];
            while (reader.WaitReadable(10_000) && StreamCalls.Read(reader.Number, buffer, out int length) == Errno.None && length > 0) got.Write(buffer, 0, length);
        });
        using (SimulatedGuest guest = SimulatedGuest.For(console))
        {
            sent = Print(guest, chunks: 24);
            reading.Start();
        }
        Assert.True(reading.Join(SimulatedGuest.Patience));
        Assert.Equal(sent, got.ToArray());
    }

    [Fact]
    public void Output_cut_into_single_bytes_goes_out_by_few_calls_and_a_bounded_part_of_it_in_a_turn()
    {
        const int Chains = 64, Bytes = 120, PiecesPerTurnMax = 4096;
        ConsolePort port = new("console", isConsole: true);
        CountingOutput output = new();
        port.Connect(null, output);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port), new SimulatedGuestOptions { MemoryBytes = 64 << 20 });
        GuestBuffer[] single = [.. Enumerable.Range(0, Bytes).Select(i => new GuestBuffer((32 << 20) + (ulong)i, 1))];
        DriverRequest[] requests = [.. Enumerable.Range(0, Chains).Select(_ => guest.Queue(Transmit).Add(single, []))];
        guest.Driver.Kick(Transmit);
        while (!requests[^1].IsUsed)
        {
            long before = output.Bytes;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            Assert.InRange(output.Bytes - before, 0, 2 * PiecesPerTurnMax);
            guest.Queue(Transmit).Collect();
        }
        Assert.Equal(Chains * Bytes, output.Bytes);
        Assert.InRange(output.Calls, 1, 32);
    }

    /// <summary>Prints much, and sees that the guest waits for nothing.</summary>
    private static byte[] Print(SimulatedGuest guest, int chunks)
    {
        byte[] sent = BlockGuest.Pattern(chunks * ChunkBytes);
        for (int i = 0; i < chunks; i++)
        {
            DriverRequest request = guest.Queue(Transmit).Add([sent[(i * ChunkBytes)..((i + 1) * ChunkBytes)]]);
            guest.Kick(Transmit).RunUntilIdle();
            Assert.True(request.IsUsed);
            guest.Queue(Transmit).Free(request);
        }
        return sent;
    }

    private static byte[] ReadAll(SimulatedGuest guest, int fd, ReadOnlySpan<byte> end)
    {
        byte[] last = end.ToArray();
        MemoryStream got = new();
        byte[] buffer = new byte[ChunkBytes];
        guest.RunUntil(() =>
        {
            while (StreamCalls.Read(fd, buffer, out int length) == Errno.None && length > 0) got.Write(buffer, 0, length);
            return got.ToArray().AsSpan().EndsWith(last);
        });
        return got.ToArray();
    }

    private static (byte[] Before, long Dropped, byte[] After) SplitAtNotice(byte[] read)
    {
        Match notice = Notice().Match(Encoding.Latin1.GetString(read));
        Assert.True(notice.Success);
        return (read[..notice.Index], long.Parse(notice.Groups[1].Value, CultureInfo.InvariantCulture), read[(notice.Index + notice.Length)..]);
    }

    [GeneratedRegex(@"\r\n\[(\d+) unread bytes were dropped here\]\r\n")]
    private static partial Regex Notice();

    private sealed class CountingOutput : ISerialOutput
    {
        internal long Bytes { get; private set; }

        internal int Calls { get; private set; }

        public OwnedFd? Ready => null;

        public Errno Write(ReadOnlySpan<byte> bytes, out int written)
        {
            Calls++;
            Bytes += written = bytes.Length;
            return Errno.None;
        }

        public void Dispose()
        {
        }
    }
}
