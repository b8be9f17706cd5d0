namespace Vmm.Devices.Simulation;

/// <summary>The guest's shell on its serial console.</summary>
internal sealed class GuestShell(GuestKernel kernel, KernelCpu cpu)
{
    /// <summary>Bytes one <c>read</c> holds at a time.</summary>
    private const int ReadChunkBytes = 64 * 1024;

    private readonly GuestConsole _console = kernel.Console;

    /// <summary>Runs commands until <c>poweroff</c> or the end of the input.</summary>
    /// <returns>
    /// Whether all went well. A person sees what fails and tries again: then it is whether the last command did.
    /// </returns>
    internal async ValueTask<bool> Run()
    {
        bool allWell = true;
        if (_console.IsInteractive) await Say($"{kernel.CpuCount} CPUs, {kernel.Drivers.Count} devices; 'help' lists the commands");
        while (await _console.ReadLine(cpu) is { } line)
        {
            _console.AbortRequested = false;
            foreach (string text in ShellSyntax.Split(line))
            {
                if (!ShellSyntax.TryParse(text, out ShellCommand? command, out string? failure))
                {
                    await Say($"error: {failure}");
                    allWell = false;
                    continue;
                }
                if (command.Verb == ShellVerb.PowerOff) return allWell;
                bool well = await Execute(command);
                allWell = well && (allWell || _console.IsInteractive);
                if (!_console.AbortRequested) continue;
                // The command was done already: what is interrupted is the rest of the line.
                if (well) await Say("error: interrupted");
                break;
            }
        }
        return allWell;
    }

    private async ValueTask<bool> Execute(ShellCommand command)
    {
        string? failure = command.Verb switch
        {
            ShellVerb.Help => await Help(),
            ShellVerb.ListDevices => await ListDevices(),
            ShellVerb.Statistics => await Statistics(),
            ShellVerb.Random => await Random(command.Length),
            _ => await OnDisk(command),
        };
        if (failure is null) return true;
        await Say($"error: {command.Device}{(command.Device.Length == 0 ? "" : ": ")}{failure}");
        return false;
    }

    private async ValueTask<string?> Help()
    {
        foreach ((string name, _, string[] parameters, string summary) in ShellSyntax.Commands)
            await Say($"{ShellSyntax.Usage(name, parameters),-28}{summary}");
        return null;
    }

    private async ValueTask<string?> ListDevices()
    {
        foreach (GuestDriver driver in kernel.Drivers)
            await Say($"{driver.Name}: {driver.Description}, registers at 0x{driver.Transport.Node.Base:x}, interrupt {driver.Transport.Node.Vector}");
        return null;
    }

    private async ValueTask<string?> Statistics()
    {
        foreach (GuestDriver driver in kernel.Drivers) await Say($"{driver.Name}: {driver.Statistics}");
        return null;
    }

    private async ValueTask<string?> Random(ulong length)
    {
        if (kernel.Drivers.OfType<GuestEntropy>().FirstOrDefault() is not { } source) return "no device gives random bytes";
        byte[] chunk = new byte[GuestEntropy.RequestBytesMax];
        while (length > 0)
        {
            int got = await source.Read(cpu, chunk.AsMemory(0, (int)Math.Min(length, (ulong)chunk.Length)));
            if (got == 0) return $"{source.Name} gives no bytes";
            await _console.Print(cpu, Convert.ToHexStringLower(chunk, 0, got));
            length -= (ulong)got;
            await cpu.Yield();
            if (_console.AbortRequested) return "interrupted";
        }
        await Say("");
        return null;
    }

    private async ValueTask<string?> OnDisk(ShellCommand command)
    {
        if (kernel.Drivers.FirstOrDefault(driver => driver.Name == command.Device) is not GuestDisk disk)
            return "no such disk, 'lsdev' lists the devices";
        ulong length = command.Verb == ShellVerb.Write ? (ulong)command.Data.Length : command.Length;
        if (command.Offset > disk.CapacityBytes || length > disk.CapacityBytes - command.Offset)
            return $"{length} bytes at {command.Offset} are beyond the disk's {disk.CapacityBytes}";
        return command.Verb switch
        {
            ShellVerb.Sha256 => await Sha256(disk),
            ShellVerb.Read => await Read(disk, command.Offset, command.Length),
            ShellVerb.Write => await disk.Write(cpu, command.Offset, command.Data),
            ShellVerb.Fill or ShellVerb.Verify => await Sweep(disk, command),
            ShellVerb.Flush => await disk.Flush(cpu),
            ShellVerb.Trim => await Trim(disk, command.Offset, command.Length),
            _ => throw new InvalidOperationException($"{command.Verb} is not for a disk"),
        };
    }

    private async ValueTask<string?> Sha256(GuestDisk disk)
    {
        (string? hex, string? failure) = await disk.Hash(cpu);
        if (hex is not null) await Say($"sha256 {disk.Name} {hex}");
        return failure;
    }

    private async ValueTask<string?> Read(GuestDisk disk, ulong offset, ulong length)
    {
        byte[] chunk = new byte[Math.Min(length, ReadChunkBytes)];
        for (ulong done = 0; done < length;)
        {
            Memory<byte> bytes = chunk.AsMemory(0, (int)Math.Min(length - done, ReadChunkBytes));
            if (await disk.Read(cpu, offset + done, bytes) is { } failure) return failure;
            await _console.Print(cpu, Convert.ToHexStringLower(bytes.Span));
            done += (ulong)bytes.Length;
        }
        await Say("");
        return null;
    }

    private async ValueTask<string?> Sweep(GuestDisk disk, ShellCommand command)
    {
        bool isFill = command.Verb == ShellVerb.Fill;
        if (await disk.Sweep(cpu, command.Seed, isFill) is { } failure) return failure;
        await Say($"{(isFill ? "fill" : "verify")} {disk.Name} {command.Seed} ok");
        return null;
    }

    private async ValueTask<string?> Trim(GuestDisk disk, ulong offset, ulong length)
    {
        if (offset % BlockProtocol.SectorSize != 0 || length % BlockProtocol.SectorSize != 0)
            return $"only whole sectors of {BlockProtocol.SectorSize} bytes can be given back";
        return await disk.Trim(cpu, offset / BlockProtocol.SectorSize, length / BlockProtocol.SectorSize);
    }

    private ValueTask Say(string line) => _console.Print(cpu, line + "\n");
}
