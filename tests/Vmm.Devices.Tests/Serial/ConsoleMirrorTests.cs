using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>What further viewers of a console see, and what they type.</summary>
public sealed class ConsoleMirrorTests
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly ConsoleMirror _mirror = new();

    [Fact]
    public void Each_viewer_sees_what_was_printed_before_it_came_and_what_comes()
    {
        _mirror.Printed("first\n"u8);
        ConsoleView one = _mirror.Open();
        Assert.Equal("first\n", ReadAll(one));
        _mirror.Printed("second\n"u8);
        ConsoleView two = _mirror.Open();
        Assert.Equal("second\n", ReadAll(one));
        Assert.Equal("first\nsecond\n", ReadAll(two));
        Assert.Equal("", ReadAll(one));
    }

    [Fact]
    public void A_viewer_that_comes_late_is_shown_whole_lines_of_the_last_64_KiB()
    {
        for (int line = 0; line < 10_000; line++) _mirror.Printed(Encoding.ASCII.GetBytes($"line {line}\n"));
        string seen = ReadAll(_mirror.Open());
        Assert.Matches("^line [0-9]+\n", seen);
        Assert.EndsWith("line 9999\n", seen);
        Assert.InRange(seen.Length, ConsoleMirror.ReplayBytesMax - 100, ConsoleMirror.ReplayBytesMax);
    }

    [Fact]
    public void Text_without_lines_is_shown_too()
    {
        _mirror.Printed(new byte[ConsoleMirror.ReplayBytesMax * 2]);
        Assert.Equal(ConsoleMirror.ReplayBytesMax, ReadAll(_mirror.Open()).Length);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, true)]
    public void A_viewer_is_cut_off_when_what_it_has_not_read_is_not_kept_any_more(int beyond, bool isCutOff)
    {
        ConsoleView slow = _mirror.Open(), quick = _mirror.Open();
        for (int printed = 0; printed < ConsoleMirror.KeptBytes + beyond;)
        {
            byte[] piece = new byte[Math.Min(1000, ConsoleMirror.KeptBytes + beyond - printed)];
            _mirror.Printed(piece);
            printed += piece.Length;
            Assert.Equal(piece.Length, ReadAll(quick).Length);
        }
        Assert.Equal(isCutOff ? 0 : ConsoleMirror.KeptBytes, ReadAll(slow).Length);
        Assert.Equal((isCutOff, false), (slow.IsCutOff, quick.IsCutOff));
    }

    [Fact]
    public void More_than_is_kept_in_one_piece_leaves_its_end()
    {
        byte[] large = BlockGuest.Pattern(ConsoleMirror.KeptBytes + 4097);
        _mirror.Printed("before\n"u8);
        _mirror.Printed(large);
        byte[] seen = new byte[ConsoleMirror.KeptBytes];
        ConsoleView view = _mirror.Open();
        int length = 0;
        for (int read; (read = view.Read(seen.AsSpan(length))) > 0;) length += read;
        Assert.Equal(large[^length..], seen[..length]);
        Assert.InRange(length, 1, ConsoleMirror.ReplayBytesMax);
    }

    [Fact]
    public async Task A_viewer_waits_for_what_comes_and_for_the_end()
    {
        ConsoleView view = _mirror.Open();
        byte[] bytes = new byte[16];
        Task<int> waiting = view.ReadAsync(bytes, TestContext.Current.CancellationToken).AsTask();
        Assert.False(waiting.IsCompleted);
        _mirror.Printed("now"u8);
        Assert.Equal(3, await waiting.WaitAsync(Watchdog, TestContext.Current.CancellationToken));
        waiting = view.ReadAsync(bytes, TestContext.Current.CancellationToken).AsTask();
        _mirror.End();
        Assert.Equal(0, await waiting.WaitAsync(Watchdog, TestContext.Current.CancellationToken));
        Assert.False(view.IsCutOff);
    }

    [Fact]
    public async Task What_is_typed_waits_until_the_guest_has_room_and_stays_together()
    {
        int asked = 0;
        _mirror.Connect(() => asked++);
        await _mirror.TypeAsync(new byte[ConsoleMirror.TypedBytesMax - 1], TestContext.Current.CancellationToken);
        Assert.Equal(1, asked);
        Task waiting = _mirror.TypeAsync("two"u8.ToArray(), TestContext.Current.CancellationToken);
        Assert.False(waiting.IsCompleted);
        Assert.Equal(ConsoleMirror.TypedBytesMax - 1, _mirror.TakeTyped(new byte[ConsoleMirror.TypedBytesMax]));
        await waiting.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        byte[] typed = new byte[16];
        Assert.Equal("two", Encoding.ASCII.GetString(typed, 0, _mirror.TakeTyped(typed)));
        Assert.Equal(0, _mirror.TakeTyped(typed));
    }

    [Fact]
    public async Task A_writer_that_waits_is_refused_when_the_console_ends_and_can_give_up()
    {
        await _mirror.TypeAsync(new byte[ConsoleMirror.TypedBytesMax], TestContext.Current.CancellationToken);
        using CancellationTokenSource givesUp = new();
        Task one = _mirror.TypeAsync("x"u8.ToArray(), TestContext.Current.CancellationToken), two = _mirror.TypeAsync("y"u8.ToArray(), givesUp.Token);
        await givesUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => two);
        _mirror.End();
        await Assert.ThrowsAsync<InvalidOperationException>(() => one.WaitAsync(Watchdog, TestContext.Current.CancellationToken));
        Assert.False(_mirror.TakesInput);
        await Assert.ThrowsAsync<ArgumentException>(() => _mirror.TypeAsync(new byte[ConsoleMirror.TypedBytesMax + 1], TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_virtio_console_shows_what_its_guest_prints_and_the_guest_reads_what_is_typed()
    {
        ConsolePort port = new("console", isConsole: true);
        ConsoleDevice console = new("console0", port);
        console.Mirror();
        // Before there is a driver: it waits.
        await port.Mirror!.TypeAsync("early "u8.ToArray(), TestContext.Current.CancellationToken);
        using SimulatedGuest guest = SimulatedGuest.For(console);
        DriverRequest request = guest.Queue(0).Add(writable: [64]);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        Assert.Equal("early ", Encoding.ASCII.GetString(request.Written));
        request = guest.Queue(0).Add(writable: [64]);
        guest.Kick(0).RunUntilIdle();
        Assert.False(request.IsUsed);
        await port.Mirror.TypeAsync("typed"u8.ToArray(), TestContext.Current.CancellationToken);
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal("typed", Encoding.ASCII.GetString(request.Written));

        ConsoleView view = port.Mirror.Open();
        guest.Queue(1).Add(["pri"u8.ToArray(), "nted"u8.ToArray()]);
        guest.Kick(1).RunUntilIdle();
        Assert.Equal("printed", ReadAll(view));
    }

    [Fact]
    public void Ports_of_programs_are_not_shown()
    {
        using ConsoleDevice console = new("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent"));
        console.Mirror();
        Assert.NotNull(console.Ports[0].Mirror);
        Assert.Null(console.Ports[1].Mirror);
    }

    private static string ReadAll(ConsoleView view)
    {
        StringBuilder text = new();
        byte[] bytes = new byte[777];
        for (int length; (length = view.Read(bytes)) > 0;) text.Append(Encoding.Latin1.GetString(bytes, 0, length));
        return text.ToString();
    }
}
