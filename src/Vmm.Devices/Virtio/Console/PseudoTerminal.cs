using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A pseudo-terminal for a console (pty(7)): a user of the host opens <see cref="Path"/> with any terminal program. It stays when they
/// leave, and what the guest prints meanwhile waits for the next, as far as the kernel keeps it.
/// </summary>
internal sealed class PseudoTerminal : IDisposable
{
    private readonly OwnedFd _master;
    // Held open: a master whose other side is not open reports a hang-up for ever.
    private readonly OwnedFd _other;

    /// <summary>Opens one, in raw mode.</summary>
    /// <exception cref="KernelException">There is none left.</exception>
    public PseudoTerminal() => (_master, _other, Path) = PseudoTerminalCalls.Open();

    /// <summary>What to open: <c>/dev/pts/7</c>.</summary>
    public string Path { get; }

    /// <summary>Connects a port to it.</summary>
    public void Connect(ConsolePort port)
    {
        port.Connect(_master.Duplicate(), new DescriptorOutput(_master.Duplicate()));
    }

    public void Dispose()
    {
        _master.Dispose();
        _other.Dispose();
    }
}

/// <summary>
/// A non-blocking descriptor as it is, for what must not be opened anew: a terminal's master would become another terminal.
/// </summary>
internal sealed class DescriptorOutput(OwnedFd fd) : ISerialOutput
{
    public OwnedFd Ready => fd;

    public Errno Write(ReadOnlySpan<byte> bytes, out int written) => StreamCalls.Write(fd.Number, bytes, out written);

    public void Dispose() => fd.Dispose();
}
