using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The process's own terminal as a port's host side: keys, screen, and the screen's size whenever it changes.</summary>
internal sealed class ConsoleScreen : IDisposable
{
    private readonly Signals _resized;

    /// <summary>Connects it.</summary>
    /// <param name="console">The console that gets the size.</param>
    /// <param name="port">The port.</param>
    /// <param name="keys">What is typed; taken over.</param>
    internal ConsoleScreen(ConsoleDevice console, ConsolePort port, OwnedFd keys)
    {
        port.Connect(keys, SerialOutput.To(StandardStreams.DuplicateOutput()));
        SendSize(console);
        _resized = new Signals().On(_ => SendSize(console), PosixSignal.SIGWINCH);
    }

    public void Dispose() => _resized.Dispose();

    private static void SendSize(ConsoleDevice console)
    {
        (ushort columns, ushort rows) = RawTerminal.SizeOf(StandardStreams.Output);
        if (columns > 0) console.Resize(columns, rows);
    }
}
