namespace Vmm.Devices.Simulation;

/// <summary>Gives back what connections of the host say, any number of them at once.</summary>
internal static class VsockEcho
{
    private const int ChunkBytes = 64 * 1024;

    internal static async ValueTask<string?> Run(GuestShell shell, GuestVsock vsock, ShellArguments arguments)
    {
        uint port = (uint)arguments.Number("PORT");
        ulong count = arguments.Number("COUNT", standard: 1), ended = 0;
        long bytes = 0;
        List<GuestSocket> sockets = [];
        byte[] chunk = new byte[ChunkBytes];
        vsock.Listen(port);
        await shell.Say($"{vsock.Name}: listening on port {port}");
        while (ended < count)
        {
            if (!await vsock.WaitUntil(shell.Cpu, () => vsock.HasAccepted || sockets.Exists(CanGoOn))) break;
            while (vsock.Accept() is { } accepted) sockets.Add(accepted);
            for (int i = sockets.Count - 1; i >= 0; i--)
            {
                GuestSocket socket = sockets[i];
                if (!CanGoOn(socket)) continue;
                if (!socket.IsAtEnd && !socket.IsClosedForSending)
                {
                    int length = await vsock.Read(shell.Cpu, socket, chunk.AsMemory(0, Math.Min(ChunkBytes, socket.Credit)));
                    if (await vsock.Send(shell.Cpu, socket, chunk.AsMemory(0, length)) is null) bytes += length;
                    continue;
                }
                await vsock.Close(shell.Cpu, socket);
                sockets.RemoveAt(i);
                ended++;
            }
        }
        vsock.Listen(null);
        foreach (GuestSocket socket in sockets) await vsock.Close(shell.Cpu, socket);
        if (ended < count) return "interrupted";
        await shell.Say($"{vsock.Name}: {ended} {(ended == 1 ? "connection" : "connections")}, {bytes} bytes echoed");
        return null;
    }

    private static bool CanGoOn(GuestSocket socket) =>
        socket.IsAtEnd || socket.IsClosedForSending || (socket.Waiting > 0 && socket.Credit > 0);
}
