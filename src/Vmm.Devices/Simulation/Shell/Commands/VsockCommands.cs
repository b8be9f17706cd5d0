using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>Commands about sockets to and from the host.</summary>
internal static class VsockCommands
{
    private const int ChunkBytes = 64 * 1024;
    private const string Interrupted = "interrupted";

    internal static ShellCommand[] All { get; } =
    [
        Command("vsock connect", ["PORT", "TEXT…"], "send a line to a port of the host, and print the answer", Connect),
        Command("vsock listen", ["PORT"], "wait for a connection of the host, and print what it says", Listen),
        Command("vsock echo", ["PORT", "[COUNT]"], "give back what so many connections of the host say", VsockEcho.Run),
        Command("vsock send", ["PORT", "MIB"], "send bytes to a port of the host, and print their checksum", Send),
        Command("vsock receive", ["PORT"], "read a port of the host to its end, and print the checksum", Receive),
    ];

    private static ShellCommand Command(string name, string[] parameters, string summary,
        Func<GuestShell, GuestVsock, ShellArguments, ValueTask<string?>> run) =>
        new(name, parameters, summary, async (shell, arguments) =>
        {
            if (shell.First<GuestVsock>() is not { } vsock) return "no socket device";
            return await run(shell, vsock, arguments) is { } failure ? $"{vsock.Name}: {failure}" : null;
        });

    private static uint PortOf(ShellArguments arguments) => (uint)arguments.Number("PORT");

    private static async ValueTask<string?> Connect(GuestShell shell, GuestVsock vsock, ShellArguments arguments)
    {
        if (await vsock.Connect(shell.Cpu, PortOf(arguments)) is not { } socket) return Refused(shell, arguments);
        string? failure = await vsock.Send(shell.Cpu, socket, Encoding.UTF8.GetBytes(arguments.Text("TEXT") + "\n"));
        if (failure is null) await vsock.EndSending(shell.Cpu, socket);
        failure ??= await Print(shell, vsock, socket);
        await vsock.Close(shell.Cpu, socket);
        return failure;
    }

    private static async ValueTask<string?> Listen(GuestShell shell, GuestVsock vsock, ShellArguments arguments)
    {
        vsock.Listen(PortOf(arguments));
        await shell.Say($"{vsock.Name}: listening on port {PortOf(arguments)}");
        bool came = await vsock.WaitUntil(shell.Cpu, () => vsock.HasAccepted);
        vsock.Listen(null);
        if (!came || vsock.Accept() is not { } socket) return Interrupted;
        string? failure = await Print(shell, vsock, socket);
        await vsock.Close(shell.Cpu, socket);
        return failure;
    }

    private static async ValueTask<string?> Send(GuestShell shell, GuestVsock vsock, ShellArguments arguments)
    {
        if (await vsock.Connect(shell.Cpu, PortOf(arguments)) is not { } socket) return Refused(shell, arguments);
        GuestSha256 hash = new();
        byte[] chunk = new byte[ChunkBytes];
        ulong bytes = arguments.Number("MIB"), at = 0;
        string? failure = null;
        for (; at < bytes && failure is null; at += ChunkBytes)
        {
            DiskPattern.Fill(PortOf(arguments), at / BlockProtocol.SectorSize, chunk);
            Memory<byte> now = chunk.AsMemory(0, (int)Math.Min(ChunkBytes, bytes - at));
            hash.Add(now.Span);
            failure = await vsock.Send(shell.Cpu, socket, now);
        }
        await vsock.Close(shell.Cpu, socket);
        if (failure is null) await shell.Say($"{vsock.Name}: {bytes} bytes sent, sha256 {hash.Finish()}");
        return failure;
    }

    private static async ValueTask<string?> Receive(GuestShell shell, GuestVsock vsock, ShellArguments arguments)
    {
        if (await vsock.Connect(shell.Cpu, PortOf(arguments)) is not { } socket) return Refused(shell, arguments);
        GuestSha256 hash = new();
        byte[] chunk = new byte[ChunkBytes];
        long bytes = 0;
        while (await vsock.WaitUntil(shell.Cpu, () => socket.Waiting > 0 || socket.IsAtEnd) && !socket.IsAtEnd)
        {
            int length = await vsock.Read(shell.Cpu, socket, chunk);
            hash.Add(chunk.AsSpan(0, length));
            bytes += length;
        }
        bool ended = socket.IsAtEnd;
        await vsock.Close(shell.Cpu, socket);
        if (!ended) return Interrupted;
        await shell.Say($"{vsock.Name}: {bytes} bytes received, sha256 {hash.Finish()}");
        return null;
    }

    /// <summary>Prints what the host says, until it ends.</summary>
    private static async ValueTask<string?> Print(GuestShell shell, GuestVsock vsock, GuestSocket socket)
    {
        byte[] chunk = new byte[ChunkBytes];
        while (await vsock.WaitUntil(shell.Cpu, () => socket.Waiting > 0 || socket.IsAtEnd))
        {
            if (socket.IsAtEnd) return null;
            int length = await vsock.Read(shell.Cpu, socket, chunk);
            await shell.Print(Encoding.UTF8.GetString(chunk, 0, length));
        }
        return Interrupted;
    }

    private static string Refused(GuestShell shell, ShellArguments arguments) =>
        shell.Interruption ?? $"nothing on the host listens on port {PortOf(arguments)}";
}
