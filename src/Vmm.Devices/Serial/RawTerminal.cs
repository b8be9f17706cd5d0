using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A terminal whose keys go to a guest one by one, unechoed, Ctrl-C included; Ctrl-\ still ends the process. What is printed is treated as
/// before. The terminal gets its mode back on <see cref="Dispose"/>, and when the process ends by itself without one, by an unhandled
/// exception too.
/// </summary>
internal sealed class RawTerminal : IDisposable
{
    private const byte Disabled = 0;

    private readonly int _fd;
    private readonly TerminalMode _before;
    private int _restored;

    private RawTerminal(int fd, TerminalMode before)
    {
        _fd = fd;
        _before = before;
        AppDomain.CurrentDomain.ProcessExit += OnProcessExit;
        AppDomain.CurrentDomain.UnhandledException += OnProcessExit;
    }

    /// <summary>Switches a terminal over.</summary>
    /// <param name="fd">A descriptor of it, usually 0.</param>
    /// <returns>Null if the descriptor is no terminal: a pipe or a file needs no mode.</returns>
    /// <exception cref="KernelException">It is a terminal, and refuses.</exception>
    internal static RawTerminal? TryEnter(int fd)
    {
        if (TerminalCalls.Get(fd, out TerminalMode before) != Errno.None) return null;
        TerminalMode raw = before;
        raw.Input &= ~(TerminalCalls.ICRNL | TerminalCalls.IXON);
        raw.Local &= ~(TerminalCalls.ICANON | TerminalCalls.ECHO | TerminalCalls.IEXTEN);
        raw.SetCharacter(TerminalCalls.VINTR, Disabled);
        raw.SetCharacter(TerminalCalls.VSUSP, Disabled);
        raw.SetCharacter(TerminalCalls.VMIN, 1);
        raw.SetCharacter(TerminalCalls.VTIME, 0);
        Errno errno = TerminalCalls.Set(fd, raw);
        return errno == Errno.None
            ? new RawTerminal(fd, before) : throw new KernelException("cannot switch the terminal to raw mode", errno);
    }

    /// <summary>How large a terminal is now. Any thread.</summary>
    /// <param name="fd">A descriptor of it.</param>
    /// <returns>Characters; zeros if it is no terminal, or does not know.</returns>
    internal static (ushort Columns, ushort Rows) SizeOf(int fd) => TerminalCalls.SizeOf(fd);

    /// <summary>Gives the terminal its mode back.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _restored, 1) != 0) return;
        AppDomain.CurrentDomain.ProcessExit -= OnProcessExit;
        AppDomain.CurrentDomain.UnhandledException -= OnProcessExit;
        _ = TerminalCalls.Set(_fd, _before);
    }

    private void OnProcessExit(object? sender, EventArgs e) => Dispose();
}
