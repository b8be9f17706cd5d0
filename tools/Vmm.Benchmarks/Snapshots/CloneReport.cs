using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace Vmm.Benchmarks;

/// <summary>
/// Part of <c>compare snapshot</c>: the memory that each of eight clones has to itself, beside that of a machine that booted.
/// </summary>
internal static class CloneReport
{
    private const int Clones = 8;
    private const double MemoryMost = 0.25;

    internal static void Print(IAnsiConsole console)
    {
        string directory = Directory.CreateTempSubdirectory("vmm-clones-").FullName;
        List<Process> running = [];
        try
        {
            string kernel = Path.Combine(directory, "kernel"), api = Path.Combine(directory, "api");
            string saved = Path.Combine(directory, "saved");
            TinyKernel.Write(kernel, TinyKernel.FillAndHalt);
            running.Add(Start("boot", PublishedTool.NoSandbox, "--kernel", kernel, "--memory", "256", "--api", api));
            if (running[0].StandardOutput.Read() < 0) throw new InvalidOperationException("the guest printed nothing");
            long cold = PrivateKiB(running[0]);
            using (Process ctl = Start("ctl", api, "snapshot", saved))
            {
                ctl.WaitForExit();
                if (ctl.ExitCode != 0) throw new InvalidOperationException("the machine was not saved");
            }
            for (int i = 1; i <= Clones; i++)
            {
                string own = $"{api}{i}";
                running.Add(Start("boot", PublishedTool.NoSandbox, "--restore", saved, "--api", own));
                while (!File.Exists(own))
                {
                    if (running[^1].HasExited) throw new InvalidOperationException("a clone did not start");
                    Thread.Sleep(1);
                }
            }
            // A clone that answers has restored all there is.
            long[] clones = [.. running.Skip(1).Select(PrivateKiB)];
            console.MarkupLineInterpolated($"[bold]snapshot-clones[/]: private memory of each of {Clones} clones of one snapshot");
            Table table = new Table().Border(TableBorder.Simple).AddColumns("", "MiB");
            table.AddRow("a machine of 256 MiB that has booted", Text(cold)).AddRow("a clone, the most", Text(clones.Max()));
            console.Write(table);
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture,
                $"a clone has {(double)clones.Max() / cold:0.000} of the memory to itself (at most {MemoryMost})");
        }
        finally
        {
            foreach (Process each in running)
            {
                if (!each.HasExited) each.Kill();
                each.WaitForExit();
                each.Dispose();
            }
            Directory.Delete(directory, recursive: true);
        }
    }

    private static Process Start(params string[] arguments) =>
        Process.Start(new ProcessStartInfo(PublishedTool.Path, arguments) { RedirectStandardOutput = true, RedirectStandardInput = true })!;

    /// <summary>Memory that no other process has: written pages of files and memory without a file (proc_pid_smaps(5)).</summary>
    private static long PrivateKiB(Process process)
    {
        Dictionary<string, long> values = File.ReadLines($"/proc/{process.Id}/smaps_rollup").Skip(1)
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .ToDictionary(words => words[0].TrimEnd(':'), words => long.Parse(words[1], CultureInfo.InvariantCulture));
        return Math.Max(values["Private_Dirty"], values["Anonymous"]);
    }

    private static string Text(long kiB) => (kiB / 1024.0).ToString("0.0", CultureInfo.InvariantCulture);
}
