namespace Vmm.Devices.Native;

/// <summary>Terminal modes (termios(3)), with glibc's structure of x86-64.</summary>
internal static unsafe partial class TerminalCalls
{
    internal const uint ICRNL = 0x100;
    internal const uint IXON = 0x400;
    internal const uint ICANON = 0x2;
    internal const uint ECHO = 0x8;
    internal const uint IEXTEN = 0x8000;
    internal const int VINTR = 0;
    internal const int VTIME = 5;
    internal const int VMIN = 6;
    internal const int VSUSP = 10;
    internal const int TCSADRAIN = 1;

    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    private static partial int GetAttributes(int fd, TerminalMode* mode);

    private const nuint TIOCGWINSZ = 0x5413;

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int GetSize(int fd, nuint request, TerminalSize* size);

    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    private static partial int SetAttributes(int fd, int when, TerminalMode* mode);

    /// <summary>Reads a terminal's mode; an error says that it is no terminal.</summary>
    internal static Errno Get(int fd, out TerminalMode mode)
    {
        TerminalMode read = default;
        // SAFETY: the C library writes one termios into a local of its size.
        int result = GetAttributes(fd, &read);
        mode = read;
        return CallResult.Of(result);
    }

    /// <summary>Reads a terminal's size (ioctl_tty(2)).</summary>
    /// <returns>Zeros if it is no terminal, or does not know.</returns>
    internal static (ushort Columns, ushort Rows) SizeOf(int fd)
    {
        TerminalSize size = default;
        // SAFETY: the kernel writes one struct winsize into a local of its size.
        return GetSize(fd, TIOCGWINSZ, &size) == 0 ? (size.Columns, size.Rows) : default;
    }

    /// <summary>Changes a terminal's mode once what was printed is out.</summary>
    internal static Errno Set(int fd, TerminalMode mode) =>
        // SAFETY: the C library reads one termios from a local.
        CallResult.Of(SetAttributes(fd, TCSADRAIN, &mode));
}

/// <summary>struct winsize.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TerminalSize
{
    internal ushort Rows;
    internal ushort Columns;
    internal ushort PixelWidth;
    internal ushort PixelHeight;
}

/// <summary>struct termios.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TerminalMode
{
    internal uint Input;
    internal uint Output;
    internal uint Control;
    internal uint Local;
    internal byte Line;
    internal fixed byte Characters[32];
    internal uint InputSpeed;
    internal uint OutputSpeed;

    /// <summary>Sets one of the control characters.</summary>
    internal void SetCharacter(int index, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, 32u);
        // SAFETY: the index was checked against the array's length.
        Characters[index] = value;
    }
}
