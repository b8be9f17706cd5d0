using System.IO.Pipes;
using Microsoft.Win32.SafeHandles;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// The keys of a terminal in raw mode for a guest's console. Ctrl-A is ours: Ctrl-A x leaves, Ctrl-A Ctrl-A is the guest's
/// Ctrl-A.
/// </summary>
internal sealed class ConsoleKeys : IDisposable
{
    private const byte Escape = 0x01;
    private const int KeysPerRead = 256;

    private readonly Action _leave;
    private readonly AnonymousPipeServerStream _pipe = new(PipeDirection.Out);
    private bool _escaped;

    /// <summary>Starts to carry keys.</summary>
    /// <param name="leave">Ctrl-A x was typed. On a thread of its own.</param>
    internal ConsoleKeys(Action leave)
    {
        _leave = leave;
        OwnedFd reading = new((int)_pipe.ClientSafePipeHandle.DangerousGetHandle());
        Input = reading.Duplicate();
        reading.SetHandleAsInvalid();
        _pipe.DisposeLocalCopyOfClientHandle();
        new Thread(CarryKeys) { Name = "keys", IsBackground = true }.Start();
    }

    /// <summary>What the guest's console reads. The caller disposes it.</summary>
    internal OwnedFd Input { get; }

    /// <summary>What of some keys is the guest's.</summary>
    /// <param name="keys">As typed.</param>
    /// <param name="toGuest">Room for one more than that.</param>
    /// <param name="escaped">Whether the key before was Ctrl-A; kept from call to call.</param>
    /// <param name="leave">Whether Ctrl-A x is among them; nothing counts after it.</param>
    /// <returns>Bytes for the guest.</returns>
    internal static int Filter(ReadOnlySpan<byte> keys, Span<byte> toGuest, ref bool escaped, out bool leave)
    {
        int length = 0;
        leave = false;
        foreach (byte key in keys)
        {
            if (!escaped && key == Escape)
            {
                escaped = true;
                continue;
            }
            if (escaped && key == (byte)'x')
            {
                leave = true;
                break;
            }
            if (escaped && key != Escape) toGuest[length++] = Escape;
            escaped = false;
            toGuest[length++] = key;
        }
        return length;
    }

    /// <summary>Hangs up: the console reads the end of its input.</summary>
    public void Dispose() => _pipe.Dispose();

    private void CarryKeys()
    {
        // Not the runtime's console: on a terminal that reads whole lines, and echoes and edits them itself.
        using SafeFileHandle standard = new(StandardStreams.Input, ownsHandle: false);
        using FileStream input = new(standard, FileAccess.Read, bufferSize: 0);
        byte[] keys = new byte[KeysPerRead];
        byte[] toGuest = new byte[KeysPerRead + 1];
        int count;
        while ((count = input.Read(keys)) > 0)
        {
            int length = Filter(keys.AsSpan(0, count), toGuest, ref _escaped, out bool leave);
            try
            {
                _pipe.Write(toGuest, 0, length);
            }
            catch (Exception gone) when (gone is IOException or ObjectDisposedException)
            {
                // The machine is gone, and the pipe with it.
                return;
            }
            if (!leave) continue;
            _leave();
            return;
        }
    }
}
