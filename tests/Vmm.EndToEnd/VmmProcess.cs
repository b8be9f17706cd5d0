using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>What a finished <c>vmm</c> left behind.</summary>
internal sealed record VmmResult(int ExitCode, string Output, string Error)
{
    /// <summary>The exit code of one that SIGTERM ended, as shells have it.</summary>
    internal const int EndedByTerm = 128 + 15;

    internal string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}

/// <summary>The command line tool as a process of its own, just as a user has it.</summary>
internal sealed class VmmProcess : IDisposable
{
    private readonly PipedProcess _process;

    internal VmmProcess(params string[] arguments) : this([], arguments)
    {
    }

    /// <summary>Runs the tool on a terminal of its own, which script(1) makes, after some commands of the shell.</summary>
    internal static VmmProcess UnderTerminal(string commands, params string[] arguments) =>
        Of(["script", "-qec", $"{commands} {string.Join(' ', VmmTool.Command)} {string.Join(' ', arguments.Select(argument => $"'{argument}'"))}", "/dev/null"]);

    /// <summary>Runs another program that a test needs beside the tool.</summary>
    internal static VmmProcess Of(string[] command) => new(new PipedProcess(command));

    private VmmProcess(PipedProcess process) => _process = process;

    /// <param name="wrapper">A command to run the tool under, such as <c>setpriv …</c>.</param>
    /// <param name="arguments">The tool's own arguments.</param>
    // Signals as a terminal's programs have them: tests run in a shell's background, or under nohup, hand on some that are ignored.
    internal VmmProcess(string[] wrapper, string[] arguments)
        : this(new PipedProcess([.. wrapper, "env", "--default-signal", .. VmmTool.Command, .. Stricter(arguments)]))
    {
    }

    /// <summary>
    /// With VMM_SANDBOX=require, what has a sandbox takes all of it or ends; with VMM_SANDBOX_ACTION=kill it dies of a call that its table lacks. A run of
    /// all tests then shows that none does (tools/test.sh --sandbox).
    /// </summary>
    private static string[] Stricter(string[] arguments) =>
        VmmTool.PublishedFile is not null && arguments is ["serve" or "boot", ..] && !arguments.Any(word => word.StartsWith("--sandbox", StringComparison.Ordinal))
            ? [arguments[0], .. Wanted("--sandbox", "VMM_SANDBOX"), .. Wanted("--sandbox-action", "VMM_SANDBOX_ACTION"), .. arguments[1..]] : arguments;

    private static string[] Wanted(string option, string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? [$"{option}={value}"] : [];

    /// <summary>A command of the build beside the tests, whatever the others run.</summary>
    internal static VmmResult RunAssembly(params string[] arguments)
    {
        using VmmProcess vmm = Of(["dotnet", VmmTool.Assembly, .. arguments]);
        vmm.Input.Close();
        return vmm.WaitForExit();
    }

    internal int Id => _process.Id;

    internal bool HasEnded => _process.HasEnded;

    /// <summary>What was printed so far on standard output.</summary>
    internal string[] Lines => [.. _process.Lines.Where(line => line.Length > 0)];

    internal StreamWriter Input => _process.Input;

    internal static VmmResult Run(params string[] arguments) => RunWithInput("", arguments);

    /// <summary>Runs the tool as root is not: file permissions count, whoever runs the tests.</summary>
    internal static VmmResult RunWithoutCapabilities(params string[] arguments)
    {
        using VmmProcess vmm = new(Environment.IsPrivilegedProcess ? ["setpriv", "--bounding-set=-all"] : [], arguments);
        vmm.Input.Close();
        return vmm.WaitForExit();
    }

    internal static VmmResult RunWithInput(string input, params string[] arguments)
    {
        using VmmProcess vmm = new(arguments);
        vmm.Input.Write(input);
        vmm.Input.Close();
        return vmm.WaitForExit();
    }

    /// <summary>How often a thread, or all of them, went to sleep so far (proc(5), status): each wake-up ends with one.</summary>
    internal static long Sleeps(int processId, string? thread = null) => Directory.GetDirectories($"/proc/{processId}/task")
        .Where(task => thread is null || File.ReadAllText(Path.Combine(task, "comm")).Trim() == thread)
        .Sum(task =>
        {
            string line = File.ReadLines(Path.Combine(task, "status")).Single(line => line.StartsWith("voluntary_ctxt_switches:", StringComparison.Ordinal));
            return long.Parse(line[(line.IndexOf(':') + 1)..]);
        });

    /// <summary>Whether a text has been printed, on either stream.</summary>
    internal bool HasSaid(string text) => _process.Output.Contains(text, StringComparison.Ordinal) || _process.Error.Contains(text, StringComparison.Ordinal);

    /// <summary>Waits until a text has been printed, on either stream.</summary>
    internal void WaitFor(string text) => Assert.True(_process.WaitUntil(() => HasSaid(text)), $"'{text}' did not appear.\n{Streams}");

    /// <summary>Sends a signal by its name: INT, TERM, KILL.</summary>
    internal void Signal(string name)
    {
        using Process kill = Process.Start("kill", [$"-{name}", $"{_process.Id}"]);
        kill.WaitForExit();
    }

    internal VmmResult WaitForExit()
    {
        Assert.True(_process.WaitForExit(), $"vmm did not end within {PipedProcess.Watchdog}.\n{Streams}");
        return new VmmResult(_process.ExitCode, _process.Output, _process.Error);
    }

    public void Dispose() => _process.Dispose();

    private string Streams => $"stdout: {_process.Output}\nstderr: {_process.Error}";
}
