namespace Vmm.Devices.Simulation;

/// <summary>Commands about the balloon, and about memory that it can give back.</summary>
internal static class BalloonCommands
{
    internal static ShellCommand[] All { get; } =
    [
        Command("balloon", ["MIB"], "give so much memory up, or take the rest of it back", SetPages),
        Command("balloon stats", [], "what the guest reports of its memory", (shell, balloon, _) => Statistics(shell, balloon)),
        Command("balloon report", [], "report free pages to the host", (shell, balloon, _) => Report(shell, balloon)),
        Command("touch", ["MIB"], "write to free memory, which the host then provides", Touch),
    ];

    private static ShellCommand Command(string name, string[] parameters, string summary,
        Func<GuestShell, GuestBalloon, ShellArguments, ValueTask<string?>> run) =>
        new(name, parameters, summary, async (shell, arguments) =>
        {
            if (shell.First<GuestBalloon>() is not { } balloon) return "no device takes memory back";
            return await run(shell, balloon, arguments) is { } failure ? $"{balloon.Name}: {failure}" : null;
        });

    private static async ValueTask<string?> SetPages(GuestShell shell, GuestBalloon balloon, ShellArguments arguments)
    {
        ulong bytes = arguments.Number("MIB");
        if (await balloon.SetPages(shell.Cpu, bytes / BalloonProtocol.PageBytes) is { } failure) return failure;
        await shell.Say($"{balloon.Name}: {balloon.Pages * BalloonProtocol.PageBytes} bytes given up, "
            + $"{balloon.PagesLeft * BalloonProtocol.PageBytes} left");
        return null;
    }

    private static async ValueTask<string?> Statistics(GuestShell shell, GuestBalloon balloon)
    {
        foreach ((BalloonStatistic tag, ulong value) in balloon.Memory) await shell.Say($"{tag} {value}");
        return null;
    }

    private static async ValueTask<string?> Report(GuestShell shell, GuestBalloon balloon)
    {
        if (await balloon.Report(shell.Cpu) is not { } bytes) return "the device does not take reports of free pages";
        await shell.Say($"{balloon.Name}: {bytes} bytes reported");
        return null;
    }

    private static async ValueTask<string?> Touch(GuestShell shell, GuestBalloon balloon, ShellArguments arguments)
    {
        ulong pages = arguments.Number("MIB") / BalloonProtocol.PageBytes;
        if (pages > balloon.PagesLeft) return $"{pages * BalloonProtocol.PageBytes} bytes are more than the "
            + $"{balloon.PagesLeft * BalloonProtocol.PageBytes} that are free";
        balloon.Touch(shell.Cpu, (uint)pages);
        await shell.Say($"{balloon.Name}: {pages * BalloonProtocol.PageBytes} bytes written");
        return null;
    }
}
