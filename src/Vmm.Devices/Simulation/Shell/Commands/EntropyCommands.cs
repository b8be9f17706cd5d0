namespace Vmm.Devices.Simulation;

/// <summary>Commands about the entropy device.</summary>
internal static class EntropyCommands
{
    internal static ShellCommand[] All { get; } =
    [
        new("rng", ["LENGTH"], "print random bytes of the device in hexadecimal", Print),
    ];

    private static async ValueTask<string?> Print(GuestShell shell, ShellArguments arguments)
    {
        if (shell.First<GuestEntropy>() is not { } source) return "no device gives random bytes";
        byte[] chunk = new byte[GuestEntropy.RequestBytesMax];
        for (ulong left = arguments.Number("LENGTH"); left > 0;)
        {
            int got = await source.Read(shell.Cpu, chunk.AsMemory(0, (int)Math.Min(left, (ulong)chunk.Length)));
            if (got == 0) return $"{source.Name} gives no bytes";
            await shell.Print(Convert.ToHexStringLower(chunk, 0, got));
            left -= (ulong)got;
            await shell.Cpu.Yield();
            if (shell.Interruption is { } interruption) return interruption;
        }
        await shell.Say("");
        return null;
    }
}
