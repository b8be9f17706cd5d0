namespace Vmm.Devices.Simulation;

/// <summary>The guest's shell on its serial console.</summary>
internal sealed class GuestShell(GuestKernel kernel, KernelCpu cpu)
{
    private const string Interrupted = "interrupted";

    private readonly GuestConsole _console = kernel.Console;

    internal GuestKernel Kernel => kernel;

    internal KernelCpu Cpu => cpu;

    /// <summary>
    /// What a command that takes long says when it was interrupted by Ctrl-C, which it looks at now and then; null: it may go on.
    /// </summary>
    internal string? Interruption => _console.AbortRequested ? Interrupted : null;

    /// <summary>Whether the machine is to end after the command that runs.</summary>
    internal bool PowerOffRequested { get; set; }

    /// <summary>Prints a line.</summary>
    internal ValueTask Say(string line) => _console.Print(cpu, line + "\n");

    /// <summary>Prints a part of a line.</summary>
    internal ValueTask Print(string text) => _console.Print(cpu, text);

    /// <summary>The driver of a device, by the name the shell calls it.</summary>
    /// <returns>Null if there is no such device, or of another kind.</returns>
    internal T? Find<T>(string name) where T : GuestDriver => kernel.Drivers.OfType<T>().FirstOrDefault(driver => driver.Name == name);

    /// <summary>The driver of the first device of a kind; null if there is none.</summary>
    internal T? First<T>() where T : GuestDriver => kernel.Drivers.OfType<T>().FirstOrDefault();

    /// <summary>Runs commands until <c>poweroff</c> or the end of the input.</summary>
    /// <returns>
    /// Whether all went well. A person sees what fails and tries again: then it is whether the last command did.
    /// </returns>
    internal async ValueTask<bool> Run()
    {
        bool allWell = true;
        if (_console.IsInteractive) await Say(
            $"{Counted(kernel.CpuCount, "CPU")}, {Counted(kernel.Drivers.Count, "device")}; 'help' lists the commands");
        while (await _console.ReadLine(cpu) is { } line)
        {
            _console.AbortRequested = false;
            foreach (string text in ShellSyntax.Split(line))
            {
                if (!ShellSyntax.TryParse(text, out ShellInvocation? invocation, out string? failure))
                {
                    await Say($"error: {failure}");
                    allWell = false;
                    continue;
                }
                bool well = await Execute(invocation);
                if (PowerOffRequested) return allWell;
                allWell = well && (allWell || _console.IsInteractive);
                if (!_console.AbortRequested) continue;
                // The command was done already: what is interrupted is the rest of the line.
                if (well) await Say($"error: {Interrupted}");
                break;
            }
        }
        return allWell;
    }

    private async ValueTask<bool> Execute(ShellInvocation invocation)
    {
        if (await invocation.Run(this) is not { } failure) return true;
        await Say($"error: {failure}");
        return false;
    }

    private static string Counted(int count, string what) => $"{count} {what}{(count == 1 ? "" : "s")}";
}
