namespace Vmm.Devices.Simulation;

/// <summary>Commands about the machine as a whole.</summary>
internal static class MachineCommands
{
    private const int UsageColumn = 30;

    internal static ShellCommand[] First { get; } =
    [
        new("help", [], "this list", (shell, _) => Help(shell)),
        new("lsdev", [], "the devices and their drivers", (shell, _) => ListDevices(shell)),
    ];

    internal static ShellCommand[] Last { get; } =
    [
        new("stats", [], "what the drivers did so far", (shell, _) => Statistics(shell)),
        new("poweroff", [], "end the machine", (shell, _) => PowerOff(shell)),
    ];

    private static async ValueTask<string?> Help(GuestShell shell)
    {
        foreach (ShellCommand command in ShellSyntax.Commands) await shell.Say(command.Usage.PadRight(UsageColumn) + command.Summary);
        return null;
    }

    private static async ValueTask<string?> ListDevices(GuestShell shell)
    {
        foreach (GuestDriver driver in shell.Kernel.Drivers)
            await shell.Say($"{driver.Name}: {driver.Description}, registers at 0x{driver.Transport.Node.Base:x}, "
                + $"interrupt {driver.Transport.Node.Vector}");
        return null;
    }

    private static async ValueTask<string?> Statistics(GuestShell shell)
    {
        foreach (GuestDriver driver in shell.Kernel.Drivers) await shell.Say($"{driver.Name}: {driver.Statistics}");
        return null;
    }

    private static ValueTask<string?> PowerOff(GuestShell shell)
    {
        shell.PowerOffRequested = true;
        return default;
    }
}
