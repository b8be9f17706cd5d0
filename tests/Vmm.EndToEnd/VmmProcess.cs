using System.Diagnostics;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>What a finished <c>vmm</c> left behind.</summary>
internal sealed record VmmResult(int ExitCode, string Output, string Error)
{
    internal string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}

/// <summary>The command line tool as a process of its own, just as a user has it.</summary>
internal sealed class VmmProcess : IDisposable
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(5);

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();

    internal VmmProcess(params string[] arguments) : this([], arguments)
    {
    }

    /// <summary>Runs the tool on a terminal of its own, which script(1) makes, after some commands of the shell.</summary>
    internal static VmmProcess UnderTerminal(string commands, params string[] arguments) =>
        new(Piped(["script", "-qec", $"{commands} {string.Join(' ', Tool)} {string.Join(' ', arguments.Select(argument => $"'{argument}'"))}", "/dev/null"]));

    /// <summary>Runs another program that a test needs beside the tool.</summary>
    internal static VmmProcess Of(string[] command) => new(Piped(command));

    private VmmProcess(ProcessStartInfo start)
    {
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, line) => Append(_output, line.Data);
        _process.ErrorDataReceived += (_, line) => Append(_error, line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <param name="wrapper">A command to run the tool under, such as <c>setpriv …</c>.</param>
    /// <param name="arguments">The tool's own arguments.</param>
    // Signals as a terminal's programs have them: tests run in a shell's background, or under nohup, hand on some that are ignored.
    internal VmmProcess(string[] wrapper, string[] arguments) : this(Piped([.. wrapper, "env", "--default-signal", .. Tool, .. Stricter(arguments)]))
    {
    }

    /// <summary>
    /// The published file that is under test: tools/test.sh makes it and names it in VMM_TOOL. Null where a test runs by itself.
    /// </summary>
    internal static string? PublishedFile { get; } = Environment.GetEnvironmentVariable("VMM_TOOL") is { Length: > 0 } path ? Path.GetFullPath(path) : null;

    /// <summary>The build beside the tests, which needs the .NET runtime.</summary>
    internal static string Assembly { get; } = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "vmm",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "vmm.dll"));

    /// <summary>The command that tests run: the published file, or else the build beside the tests.</summary>
    internal static string[] Tool { get; } = PublishedFile is { } file ? [file] : ["dotnet", Assembly];

    /// <summary>
    /// With VMM_SANDBOX=require, what has a sandbox takes all of it or ends; with VMM_SANDBOX_ACTION=kill it dies of a call that its table lacks. A run of
    /// all tests then shows that none does (tools/test.sh --sandbox).
    /// </summary>
    private static string[] Stricter(string[] arguments) =>
        PublishedFile is not null && arguments is ["serve" or "boot", ..] && !arguments.Any(word => word.StartsWith("--sandbox", StringComparison.Ordinal))
            ? [arguments[0], .. Wanted("--sandbox", "VMM_SANDBOX"), .. Wanted("--sandbox-action", "VMM_SANDBOX_ACTION"), .. arguments[1..]] : arguments;

    private static string[] Wanted(string option, string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? [$"{option}={value}"] : [];

    /// <summary>A command of the build beside the tests, whatever the others run.</summary>
    internal static VmmResult RunAssembly(params string[] arguments)
    {
        using VmmProcess vmm = new(Piped(["dotnet", Assembly, .. arguments]));
        vmm.Input.Close();
        return vmm.WaitForExit();
    }

    internal int Id => _process.Id;

    internal bool HasEnded => _process.HasExited;

    /// <summary>What was printed so far on standard output.</summary>
    internal string[] Lines => Snapshot(_output).Split('\n', StringSplitOptions.RemoveEmptyEntries);

    internal StreamWriter Input => _process.StandardInput;

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
    internal bool HasSaid(string text) => Snapshot(_output).Contains(text, StringComparison.Ordinal) || Snapshot(_error).Contains(text, StringComparison.Ordinal);

    /// <summary>Waits until a text has been printed, on either stream.</summary>
    internal void WaitFor(string text)
    {
        long start = Stopwatch.GetTimestamp();
        while (!HasSaid(text))
        {
            bool hasEnded = _process.HasExited;
            // What it printed last is read after its end.
            if (hasEnded) _process.WaitForExit();
            if (hasEnded && HasSaid(text)) return;
            if (hasEnded || Stopwatch.GetElapsedTime(start) > Watchdog)
                Assert.Fail($"'{text}' did not appear.\nstdout: {Snapshot(_output)}\nstderr: {Snapshot(_error)}");
            Thread.Sleep(10);
        }
    }

    /// <summary>Sends a signal by its name: INT, TERM, KILL.</summary>
    internal void Signal(string name)
    {
        using Process kill = Process.Start("kill", [$"-{name}", $"{_process.Id}"]);
        kill.WaitForExit();
    }

    internal VmmResult WaitForExit()
    {
        if (!_process.WaitForExit(Watchdog))
            Assert.Fail($"vmm did not end within {Watchdog}.\nstdout: {Snapshot(_output)}\nstderr: {Snapshot(_error)}");
        _process.WaitForExit();
        return new VmmResult(_process.ExitCode, Snapshot(_output), Snapshot(_error));
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    private static ProcessStartInfo Piped(string[] command) => new(command[0], command[1..])
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    };

    private static void Append(StringBuilder builder, string? line)
    {
        if (line is null) return;
        lock (builder) builder.Append(line).Append('\n');
    }

    private static string Snapshot(StringBuilder builder)
    {
        lock (builder) return builder.ToString();
    }
}
