using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace Vmm.Mutants;

/// <summary>How a run of tests ended.</summary>
internal enum TestEnd
{
    Passed,
    Failed,
    TimedOut,
}

/// <summary>
/// A test program (xunit's own runner) in a folder where the mutated library lies beside it. One process runs suites again and again; it is
/// started anew when it hangs, ends, or does not pass without a mutant any more.
/// </summary>
/// <param name="folder">The folder.</param>
/// <param name="name">The program.</param>
/// <param name="library">The mutated library.</param>
internal sealed class TestProgram(string folder, string name, string library) : IDisposable
{
    /// <summary>
    /// A program that is at its tests uses the processor, however little it gets of it on a busy machine; one that does not for so long
    /// hangs.
    /// </summary>
    private static readonly TimeSpan IdleMax = TimeSpan.FromSeconds(75);

    private static readonly TimeSpan IdleUse = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(250);

    private static readonly TimeSpan EndMax = TimeSpan.FromSeconds(10);

    private Process? _process;

    /// <summary>Processor time of the last run.</summary>
    internal TimeSpan Used { get; private set; }

    /// <summary>The suites, by their full names.</summary>
    internal IReadOnlyList<string> ListSuites()
    {
        using Process process = Start(["-list", "classes", "-noLogo", "-noColor"], isServer: false);
        string output = process.StandardOutput.ReadToEnd();
        return [.. output.Split('\n').Select(line => line.Trim())
            .Where(line => line.StartsWith("Vmm.", StringComparison.Ordinal) && !line.Contains(' ', StringComparison.Ordinal))];
    }

    /// <summary>Runs suites, up to the first failure.</summary>
    /// <param name="mutant">Which mutant is on; 0 for none.</param>
    /// <param name="suites">Their names.</param>
    /// <param name="limit">How much processor time it may take. Not time: the machine may have little of it to give.</param>
    /// <param name="hits">The mutants whose lines were run, if none was on.</param>
    internal TestEnd Run(int mutant, IEnumerable<string> suites, TimeSpan limit, out int[] hits)
    {
        hits = [];
        // What an earlier mutant left behind may have ended it since: that is not this one's fault.
        if (_process is { HasExited: true }) Restart();
        _process ??= Start([], isServer: true);
        Used = TimeSpan.Zero;
        string? answer = null;
        try
        {
            _process.StandardInput.WriteLine($"{mutant.ToString(CultureInfo.InvariantCulture)} {string.Join(' ', suites)}");
            _process.StandardInput.Flush();
            Task<string?> reading = Task.Run(() => ReadAnswer(_process.StandardOutput));
            if (!IsDoneIn(limit, _process, reading))
            {
                Restart();
                return TestEnd.TimedOut;
            }
            answer = reading.Result;
        }
        catch (IOException)
        {
            // The process is gone: the mutant ended it.
        }
        if (answer is null)
        {
            Restart();
            return TestEnd.Failed;
        }
        string[] parts = answer.Split(' ');
        if (parts.Length > 1 && parts[1].Length > 0)
            hits = [.. parts[1].Split(',').Select(each => int.Parse(each, CultureInfo.InvariantCulture))];
        return parts[0] == "0" ? TestEnd.Passed : TestEnd.Failed;
    }

    private bool IsDoneIn(TimeSpan limit, Process process, Task reading)
    {
        TimeSpan start = UsedBy(process, TimeSpan.Zero);
        TimeSpan atLook = start;
        Stopwatch idle = Stopwatch.StartNew();
        while (!reading.Wait(Look))
        {
            if (process.HasExited) return reading.Wait(TimeSpan.FromSeconds(10));
            TimeSpan now = UsedBy(process, atLook);
            Used = now - start;
            if (Used > limit || idle.Elapsed > IdleMax) return false;
            if (now - atLook < IdleUse) continue;
            atLook = now;
            idle.Restart();
        }
        Used = UsedBy(process, start + Used) - start;
        return true;
    }

    /// <summary>Processor time so far. The process may end at any moment, also between a look whether it has and this.</summary>
    /// <param name="process">The process.</param>
    /// <param name="before">The answer if it has ended: what was seen before.</param>
    private static TimeSpan UsedBy(Process process, TimeSpan before)
    {
        try
        {
            return process.TotalProcessorTime;
        }
        catch (Exception exception) when (exception is Win32Exception or InvalidOperationException)
        {
            return before;
        }
    }

    /// <summary>Has the next run start a fresh process.</summary>
    internal void Restart()
    {
        if (_process is null) return;
        try
        {
            _process.Kill(entireProcessTree: true);
            // One that waits for a file system of its own (FUSE) does not end while that is mounted. It is left behind.
            _process.WaitForExit(EndMax);
        }
        catch (Exception exception) when (exception is Win32Exception or InvalidOperationException)
        {
            // It had ended.
        }
        _process.Dispose();
        _process = null;
    }

    public void Dispose() => Restart();

    private static string? ReadAnswer(StreamReader output)
    {
        while (output.ReadLine() is { } line)
        {
            if (line.StartsWith(StartupHook.Answer, StringComparison.Ordinal)) return line[StartupHook.Answer.Length..];
        }
        return null;
    }

    private Process Start(IEnumerable<string> arguments, bool isServer)
    {
        ProcessStartInfo start = new("nice", ["-n", "10", Path.Combine(folder, name), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder,
        };
        if (isServer)
        {
            start.Environment["DOTNET_STARTUP_HOOKS"] = typeof(StartupHook).Assembly.Location;
            start.Environment[StartupHook.ProgramVariable] = Path.Combine(folder, $"{name}.dll");
            start.Environment[StartupHook.LibraryVariable] = Path.Combine(folder, $"{library}.dll");
        }
        // No profile is gathered meanwhile: tests count what is allocated.
        start.Environment["DOTNET_TieredPGO"] = "0";
        Process process = Process.Start(start)!;
        process.ErrorDataReceived += static (_, _) => { };
        process.BeginErrorReadLine();
        return process;
    }
}
