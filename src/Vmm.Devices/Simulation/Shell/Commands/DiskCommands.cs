namespace Vmm.Devices.Simulation;

/// <summary>Commands about disks.</summary>
internal static class DiskCommands
{
    /// <summary>Bytes one <c>read</c> holds at a time.</summary>
    private const int ReadChunkBytes = 64 * 1024;

    internal static ShellCommand[] All { get; } =
    [
        Command("sha256", ["DISK"], "checksum of the whole disk", Sha256),
        Command("read", ["DISK", "OFFSET", "LENGTH"], "print bytes in hexadecimal", Read),
        Command("write", ["DISK", "OFFSET", "HEX"], "write bytes", Write),
        Command("fill", ["DISK", "SEED", "[BYTES]"], "write the whole disk in random order, all CPUs at once, BYTES (64K) a request",
            (shell, disk, arguments) => Sweep(shell, disk, arguments, isFill: true)),
        Command("verify", ["DISK", "SEED", "[BYTES]"], "check what fill wrote, in another order",
            (shell, disk, arguments) => Sweep(shell, disk, arguments, isFill: false)),
        Command("flush", ["DISK"], "make what was written durable", (shell, disk, _) => disk.Flush(shell.Cpu)),
        Command("trim", ["DISK", "OFFSET", "LENGTH"], "give sectors back to the host", Trim),
    ];

    private static ShellCommand Command(string name, string[] parameters, string summary,
        Func<GuestShell, GuestDisk, ShellArguments, ValueTask<string?>> run) =>
        new(name, parameters, summary, async (shell, arguments) =>
        {
            string device = arguments.Text("DISK");
            string? failure = shell.Find<GuestDisk>(device) is { } disk
                ? await run(shell, disk, arguments) : "no such disk, 'lsdev' lists the devices";
            return failure is null ? null : $"{device}: {failure}";
        });

    private static async ValueTask<string?> Sha256(GuestShell shell, GuestDisk disk, ShellArguments arguments)
    {
        (string? hex, string? failure) = await disk.Hash(shell.Cpu);
        if (hex is not null) await shell.Say($"sha256 {disk.Name} {hex}");
        return failure;
    }

    private static async ValueTask<string?> Read(GuestShell shell, GuestDisk disk, ShellArguments arguments)
    {
        ulong offset = arguments.Number("OFFSET"), length = arguments.Number("LENGTH");
        if (Beyond(disk, offset, length) is { } beyond) return beyond;
        byte[] chunk = new byte[Math.Min(length, ReadChunkBytes)];
        for (ulong done = 0; done < length;)
        {
            Memory<byte> bytes = chunk.AsMemory(0, (int)Math.Min(length - done, ReadChunkBytes));
            if (await disk.Read(shell.Cpu, offset + done, bytes) is { } failure) return failure;
            await shell.Print(Convert.ToHexStringLower(bytes.Span));
            done += (ulong)bytes.Length;
        }
        await shell.Say("");
        return null;
    }

    private static async ValueTask<string?> Write(GuestShell shell, GuestDisk disk, ShellArguments arguments)
    {
        ulong offset = arguments.Number("OFFSET");
        byte[] data = arguments.Bytes("HEX");
        return Beyond(disk, offset, (ulong)data.Length) ?? await disk.Write(shell.Cpu, offset, data);
    }

    private static async ValueTask<string?> Sweep(GuestShell shell, GuestDisk disk, ShellArguments arguments, bool isFill)
    {
        ulong seed = arguments.Number("SEED");
        ulong blockBytes = arguments.Number("BYTES", disk.SweepBytesMax);
        if (blockBytes == 0 || blockBytes > disk.SweepBytesMax || blockBytes % BlockProtocol.SectorSize != 0)
            return $"a request of {blockBytes} bytes can't be made: give whole sectors of {BlockProtocol.SectorSize} bytes, "
                + $"{disk.SweepBytesMax} at most";
        if (await disk.Sweep(shell.Cpu, seed, (uint)blockBytes, isFill) is { } failure) return failure;
        await shell.Say($"{(isFill ? "fill" : "verify")} {disk.Name} {seed} ok");
        return null;
    }

    private static async ValueTask<string?> Trim(GuestShell shell, GuestDisk disk, ShellArguments arguments)
    {
        ulong offset = arguments.Number("OFFSET"), length = arguments.Number("LENGTH");
        if (Beyond(disk, offset, length) is { } beyond) return beyond;
        if (offset % BlockProtocol.SectorSize != 0 || length % BlockProtocol.SectorSize != 0)
            return $"only whole sectors of {BlockProtocol.SectorSize} bytes can be given back";
        return await disk.Trim(shell.Cpu, offset / BlockProtocol.SectorSize, length / BlockProtocol.SectorSize);
    }

    private static string? Beyond(GuestDisk disk, ulong offset, ulong length) =>
        offset > disk.CapacityBytes || length > disk.CapacityBytes - offset
        ? $"{length} bytes at {offset} are beyond the disk's {disk.CapacityBytes}"
        : null;
}
