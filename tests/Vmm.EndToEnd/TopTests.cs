using System.Text;
using System.Text.RegularExpressions;
using Vmm.Tool;

namespace Vmm.EndToEnd;

/// <summary><c>vmm top</c>: a table in a pipe, a live one in a terminal that gets its mode back.</summary>
public sealed partial class TopTests : IDisposable
{
    private const long MiB = 1 << 20;

    // The terminal says its mode before and after, and the exit code.
    private const string Around = "stty rows 30 cols 120; trap 'code=$?; echo; echo mode $(stty -g); echo code $code' EXIT; echo mode $(stty -g); "
        + "env --default-signal TERM=xterm-256color sh -c 'echo pid $$; exec \"$@\"' sh";

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void In_a_pipe_it_prints_one_table_with_rates_and_ends()
    {
        using VmmProcess vmm = Serve(out string socket);
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", socket, "--seconds", "5");
        vmm.WaitFor("a driver runs");
        VmmResult result = VmmProcess.Run("top", Api);
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
        Assert.DoesNotContain("\u001b", result.Output);
        Assert.Contains("requests/s", result.Lines[0]);
        string disk = Assert.Single(result.Lines, line => line.StartsWith("blk0 ", StringComparison.Ordinal));
        Assert.Matches(@"^blk0 +block +[0-9.]+[kM]? +[0-9.]+[kMG] +[0-9.]+(µs|ms) +[0-9.]+(µs|ms)", disk);
        Assert.Matches(@"^rng0 +entropy +0 +0 +- +- +0", Assert.Single(result.Lines, line => line.StartsWith("rng0 ", StringComparison.Ordinal)));
        Assert.Equal(0, load.WaitForExit().ExitCode);
    }

    [Theory]
    [InlineData("q")]
    [InlineData("\u0003")]
    [InlineData("TERM")]
    [InlineData("HUP")]
    public void In_a_terminal_it_ends_and_gives_the_terminal_back(string how)
    {
        using VmmProcess vmm = Serve(out _);
        using VmmProcess top = VmmProcess.UnderTerminal(Around, "top", Api);
        top.WaitFor("Enter looks inside");
        if (how.Length == 1) Type(top, how);
        else Shell.Run("kill", $"-{how}", top.Lines.Select(line => line.Trim()).Single(line => line.StartsWith("pid ", StringComparison.Ordinal))["pid ".Length..]);
        AssertGivenBack(top, 0);
    }

    [Fact]
    public void Keys_select_sort_and_look_inside()
    {
        using VmmProcess vmm = Serve(out _);
        using VmmProcess top = VmmProcess.UnderTerminal(Around, "top", Api);
        top.WaitFor("now by load");
        Type(top, "s");
        top.WaitFor("now by bytes");
        Type(top, "ss");
        top.WaitFor("now by name");
        // The second of blk0 and rng0.
        Type(top, "\u001b[B\r");
        top.WaitFor("Esc goes back");
        top.WaitFor("driver false");
        Assert.Contains("rng0 entropy", Plain(top));
        Type(top, "\u001b");
        Type(top, "q");
        AssertGivenBack(top, 0);
    }

    [Fact]
    public void The_end_of_the_other_process_ends_it_too()
    {
        using VmmProcess vmm = Serve(out _);
        using VmmProcess top = VmmProcess.UnderTerminal(Around, "top", Api);
        top.WaitFor("Enter looks inside");
        vmm.Signal("TERM");
        Assert.Contains("the other vmm has ended", AssertGivenBack(top, 1));
    }

    [Fact]
    public void Without_an_API_there_is_a_sentence()
    {
        VmmResult result = VmmProcess.Run("top", Api);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("does a vmm run with --api", result.Error);
    }

    [Theory]
    [InlineData("q", "Quit")]
    [InlineData("\u0003", "Quit")]
    [InlineData("jk", "Down Up")]
    [InlineData("\u001b[A\u001b[B\u001bOA", "Up Down Up")]
    [InlineData("\u001b[1;5A", "Up")]
    [InlineData("\u001b", "Back")]
    [InlineData("\u001b[", "")]
    [InlineData("\u001b[5~q", "Quit")]
    [InlineData("\rs\u007fx", "Inside Sort Back")]
    public void Bytes_of_a_terminal_are_keys(string bytes, string keys) =>
        Assert.Equal(keys, string.Join(' ', TopKeys.Read(Encoding.Latin1.GetBytes(bytes))));

    public void Dispose() => _scratch.Dispose();

    private VmmProcess Serve(out string socket)
    {
        socket = _scratch.PathOf("disk.sock");
        VmmProcess vmm = new("serve", "--api", Api, "--blk", $"path={_scratch.CreateImage("disk.img", 4 * MiB)},socket={socket}", "--rng", $"socket={_scratch.PathOf("rng.sock")}");
        vmm.WaitFor($"listening api {Api}");
        return vmm;
    }

    private static void Type(VmmProcess top, string keys)
    {
        top.Input.Write(keys);
        top.Input.Flush();
    }

    private static string Plain(VmmProcess top) => Sequences().Replace(string.Join('\n', top.Lines), "");

    /// <returns>All that was printed.</returns>
    private static string AssertGivenBack(VmmProcess top, int exitCode)
    {
        VmmResult result = top.WaitForExit();
        string[] modes = [.. result.Lines.Where(line => line.StartsWith("mode ", StringComparison.Ordinal))];
        Assert.Equal(2, modes.Length);
        Assert.Equal(modes[0], modes[1]);
        Assert.Contains($"code {exitCode}", result.Lines);
        // Back from the other screen, with a cursor.
        Assert.True(result.Output.LastIndexOf("\u001b[?1049l", StringComparison.Ordinal) > result.Output.LastIndexOf("\u001b[?1049h", StringComparison.Ordinal));
        Assert.True(result.Output.LastIndexOf("\u001b[?25h", StringComparison.Ordinal) > result.Output.LastIndexOf("\u001b[?25l", StringComparison.Ordinal));
        return result.Output;
    }

    [GeneratedRegex(@"\u001b\[[0-9;?]*[A-Za-z]")]
    private static partial Regex Sequences();
}
