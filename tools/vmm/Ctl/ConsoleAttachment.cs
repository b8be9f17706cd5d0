using Microsoft.Win32.SafeHandles;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The terminal of this process as one more screen and keyboard of a guest's console. Ctrl-A x leaves, and the console goes on. Without a
/// terminal, standard input is typed, and its end does not leave: what is printed is still shown.
/// </summary>
internal static class ConsoleAttachment
{
    /// <summary>Shows a console until it ends, or the operator leaves.</summary>
    /// <param name="client">The API.</param>
    /// <param name="name">The console; null for the first one.</param>
    /// <exception cref="IOException">There is no such console, or the connection broke.</exception>
    internal static void Run(CtlClient client, string? name)
    {
        name ??= (client.Get("/v1/consoles", ApiJson.Readable.GuestConsoleList).Consoles is [var first, ..] ? first.Name : null)
            ?? throw new IOException("there is no console: only machines of 'vmm run' and 'vmm boot' have some");
        using Stream stream = client.Upgrade($"/v1/consoles/{Uri.EscapeDataString(name)}");
        using WebSocketBytes console = new(stream, isClient: true);
        using CancellationTokenSource leave = new();
        using RawTerminal? terminal = RawTerminal.TryEnter(StandardStreams.Input);
        using Signals signals = new Signals().On(_ => leave.Cancel(), Signals.Ending);
        if (terminal is not null) Console.Error.WriteLine($"vmm: attached to {Printable.Of(name)}; Ctrl-A x leaves");
        new Thread(() => Type(console, terminal is not null, leave)) { Name = "keys", IsBackground = true }.Start();
        (int Status, string Reason)? why = ShowAsync(console, leave.Token).GetAwaiter().GetResult();
        if (terminal is not null) Console.Error.WriteLine();
        if (why is { Status: not (WebSocketBytes.NormalClosure or WebSocketBytes.GoingAway) } refused)
            throw new IOException(refused.Reason);
    }

    private static async Task<(int Status, string Reason)?> ShowAsync(WebSocketBytes console, CancellationToken leave)
    {
        using SafeFileHandle standard = new(StandardStreams.Output, ownsHandle: false);
        await using FileStream screen = new(standard, FileAccess.Write, bufferSize: 0);
        byte[] bytes = new byte[WebSocketBytes.ChunkBytesMax];
        try
        {
            for (int length; (length = await console.ReadAsync(bytes, leave)) > 0;) screen.Write(bytes, 0, length);
            return console.Closed;
        }
        catch (OperationCanceledException)
        {
            return null;
        }
        catch (WebSocketException broken)
        {
            throw new IOException($"the other vmm broke the protocol: {broken.Message}", broken);
        }
    }

    private static void Type(WebSocketBytes console, bool isTerminal, CancellationTokenSource leave)
    {
        const int Escaped = 1;
        using SafeFileHandle standard = new(StandardStreams.Input, ownsHandle: false);
        using FileStream input = new(standard, FileAccess.Read, bufferSize: 0);
        byte[] keys = new byte[WebSocketBytes.ChunkBytesMax - Escaped], typed = new byte[WebSocketBytes.ChunkBytesMax];
        bool escaped = false;
        try
        {
            for (int count; (count = input.Read(keys)) > 0;)
            {
                bool wantsToLeave = false;
                ReadOnlyMemory<byte> bytes = isTerminal
                    ? typed.AsMemory(0, ConsoleKeys.Filter(keys.AsSpan(0, count), typed, ref escaped, out wantsToLeave))
                    : keys.AsMemory(0, count);
                if (!bytes.IsEmpty) console.WriteAsync(bytes, leave.Token).AsTask().GetAwaiter().GetResult();
                if (!wantsToLeave) continue;
                leave.Cancel();
                return;
            }
        }
        catch (Exception gone) when (gone is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // The console has ended, and what shows it says why.
        }
    }
}
