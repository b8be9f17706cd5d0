using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vmm.Events.Tests.Support;

/// <summary>Runs a test again in a process of its own, for what may end one.</summary>
internal static class ChildTest
{
    private const string Variable = "VMM_CHILD_TEST";
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>What the parent asked this process to do; null in the parent.</summary>
    internal static string? Task => Environment.GetEnvironmentVariable(Variable);

    /// <summary>Runs the calling test in a child.</summary>
    /// <param name="task">What the child finds in <see cref="Task"/>.</param>
    /// <returns>Its exit code (128 and the number of the signal that ended it), and all that it said.</returns>
    internal static (int ExitCode, string Said) Run<TTests>(string task, [CallerMemberName] string test = "")
    {
        // A core file of a test that is to crash is of no use to anybody.
        ProcessStartInfo start = new("/bin/sh") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in (string[])["-c", "ulimit -c 0; exec \"$0\" \"$@\"", Environment.ProcessPath!, .. Runner, "-method", $"{typeof(TTests).FullName}.{test}"])
            start.ArgumentList.Add(argument);
        start.Environment[Variable] = task;
        start.Environment["DOTNET_DbgEnableMiniDump"] = "0";
        using Process child = Process.Start(start)!;
        Task<string> output = child.StandardOutput.ReadToEndAsync();
        Task<string> errors = child.StandardError.ReadToEndAsync();
        if (!child.WaitForExit(Patience))
        {
            child.Kill(entireProcessTree: true);
            child.WaitForExit();
            Assert.Fail($"the child that was to {task} did not end in {Patience}");
        }
        return (child.ExitCode, output.Result + errors.Result);
    }

    /// <summary>The tests' own assembly, where the process is <c>dotnet</c> and not the assembly's host.</summary>
    private static string[] Runner =>
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(ChildTest).Assembly.Location] : [];
}
