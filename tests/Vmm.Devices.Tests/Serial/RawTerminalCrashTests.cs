using System.Runtime.CompilerServices;

namespace Vmm.Devices.Tests;

/// <summary>
/// A terminal in raw mode whose process ends by an unhandled exception: this program again, on a terminal that script(1) makes.
/// </summary>
[Collection(Alone.Name)]
public sealed class RawTerminalCrashTests
{
    private const string Crash = "VMM_TEST_CRASH_WITH_RAW_TERMINAL";

    [Fact]
    public void A_crash_gives_the_terminal_its_mode_back()
    {
        string program = Path.ChangeExtension(typeof(RawTerminalCrashTests).Assembly.Location, null);
        string commands = $"echo mode $(stty -g); {Crash}=1 '{program}'; echo code $?; echo mode $(stty -g)";
        (int code, string output) = HostCommand.Run("script", "-qec", commands, "/dev/null");
        Assert.SkipUnless(code >= 0, "script(1) is not there: tools/test.sh installs it");
        string[] lines = output.Split('\n', StringSplitOptions.TrimEntries);
        string[] modes = [.. lines.Where(line => line.StartsWith("mode ", StringComparison.Ordinal))];
        // Behind what the runtime sends a terminal when it starts a child.
        Assert.Contains(lines, line => line.EndsWith("during -icanon", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("the crash of the test", StringComparison.Ordinal));
        Assert.Contains("code 134", lines);
        Assert.Equal(2, modes.Length);
        Assert.Equal(modes[0], modes[1]);
    }

    /// <summary>Runs before the test runner does, in the process that is to crash.</summary>
    [ModuleInitializer]
    internal static void CrashIfAsked()
    {
        if (Environment.GetEnvironmentVariable(Crash) != "1") return;
        _ = RawTerminal.TryEnter(0) ?? throw new InvalidOperationException("descriptor 0 is no terminal");
        string mode = HostCommand.Run("stty", "-a").Output;
        Console.WriteLine(mode.Contains("-icanon", StringComparison.Ordinal) ? "during -icanon" : $"during {mode}");
        new Thread(() => throw new InvalidOperationException("the crash of the test")).Start();
        Thread.Sleep(Timeout.Infinite);
    }
}
