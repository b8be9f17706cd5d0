using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>A program that runs beside a test, and what it has printed.</summary>
internal sealed class PipedProcess : IDisposable
{
    /// <summary>How long a test waits for a program.</summary>
    internal static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(5);

    private readonly Process _process;
    private readonly List<string> _output = [], _error = [];

    /// <param name="command">The program and its arguments.</param>
    /// <param name="onPrinted">Gets each line of its standard output, at once.</param>
    /// <param name="environment">What its environment has beside that of the tests.</param>
    internal PipedProcess(string[] command, Action<string>? onPrinted = null, params (string Name, string Value)[] environment)
    {
        ProcessStartInfo start = new(command[0], command[1..])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in environment) start.Environment[name] = value;
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is { } printed) onPrinted?.Invoke(printed);
            Append(_output, line.Data);
        };
        _process.ErrorDataReceived += (_, line) => Append(_error, line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    internal int Id => _process.Id;

    internal bool HasEnded => _process.HasExited;

    /// <summary>Of one that has ended.</summary>
    internal int ExitCode => _process.ExitCode;

    internal StreamWriter Input => _process.StandardInput;

    /// <summary>What was printed so far on standard output, line by line.</summary>
    internal string[] Lines
    {
        get { lock (_output) return [.. _output]; }
    }

    /// <summary>What was printed so far on standard output.</summary>
    internal string Output => Text(_output);

    /// <summary>What was printed so far on standard error.</summary>
    internal string Error => Text(_error);

    /// <summary>Waits until something was printed, the program has ended, or it takes too long.</summary>
    /// <returns>Whether it was printed.</returns>
    internal bool WaitUntil(Func<bool> isPrinted)
    {
        long start = Stopwatch.GetTimestamp();
        while (!isPrinted())
        {
            if (HasEnded)
            {
                // What it printed last is read after its end.
                _process.WaitForExit();
                return isPrinted();
            }
            if (Stopwatch.GetElapsedTime(start) > Watchdog) return false;
            Thread.Sleep(10);
        }
        return true;
    }

    /// <summary>Waits for its end, and for all that it has printed.</summary>
    /// <returns>False if it takes too long.</returns>
    internal bool WaitForExit()
    {
        if (!_process.WaitForExit(Watchdog)) return false;
        _process.WaitForExit();
        return true;
    }

    /// <summary>Ends it, and what it has started, at once.</summary>
    internal void Kill()
    {
        if (!HasEnded) _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (!HasEnded) _process.Kill(entireProcessTree: true);
        // Not for all that it has printed: what it has left running may hold the pipe.
        _process.WaitForExit(Watchdog);
        _process.Dispose();
    }

    private static void Append(List<string> lines, string? line)
    {
        if (line is null) return;
        lock (lines) lines.Add(line);
    }

    private static string Text(List<string> lines)
    {
        lock (lines) return string.Concat(lines.Select(line => line + "\n"));
    }
}
