using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>Commands of the host that tests need.</summary>
internal static class Shell
{
    /// <summary>Runs a program to its end, without input.</summary>
    /// <returns>Its exit code, and what it printed on both streams.</returns>
    internal static (int ExitCode, string Output) Try(params string[] command)
    {
        ProcessStartInfo start = new("sh", ["-c", "exec \"$0\" \"$@\" 2>&1", .. command])
        {
            RedirectStandardOutput = true,
            RedirectStandardInput = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    /// <summary>The lines of an output that have something in them.</summary>
    internal static string[] Lines(string output) => output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Runs a program that must succeed.</summary>
    /// <returns>What it printed on both streams.</returns>
    internal static string Run(params string[] command)
    {
        (int exitCode, string output) = Try(command);
        Assert.True(exitCode == 0, $"{string.Join(' ', command)} ended with {exitCode}: {output}");
        return output;
    }
}
