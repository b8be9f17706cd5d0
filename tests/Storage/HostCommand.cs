using System.Diagnostics;

namespace Vmm.Tests;

/// <summary>A program of the host, run to its end.</summary>
internal static class HostCommand
{
    /// <summary>Its exit code, and what it said on either stream; −1 if it is not there.</summary>
    internal static (int Code, string Output) Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            Task<string> error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output + error.Result);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return (-1, $"{program} is not there");
        }
    }

    internal static string Check(string program, params string[] arguments)
    {
        (int code, string output) = Run(program, arguments);
        Assert.True(code == 0, $"{program} {string.Join(' ', arguments)}: {output}");
        return output;
    }
}
