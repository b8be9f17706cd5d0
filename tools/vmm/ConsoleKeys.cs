using System.IO.Pipes;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// Standard input as the keys of a guest's console. On a terminal each key goes to the guest at once, and Ctrl-A is ours: Ctrl-A x leaves,
/// Ctrl-A Ctrl-A is the guest's Ctrl-A. Anything else than a terminal goes to the guest as it is.
/// </summary>
internal sealed class ConsoleKeys : IDisposable
{
    private const byte Escape = 0x01;

    private readonly Action _leave;
    private readonly AnonymousPipeServerStream? _pipe;
    private bool _escaped;

    /// <summary>Switches the terminal over, if it is one.</summary>
    /// <param name="leave">Ctrl-A x was typed. On a thread of its own.</param>
    internal ConsoleKeys(Action leave)
    {
        _leave = leave;
        using OwnedFd standardInput = new(0);
        if (Console.IsInputRedirected)
        {
            Input = standardInput.Duplicate();
            standardInput.SetHandleAsInvalid();
            return;
        }
        standardInput.SetHandleAsInvalid();
        _pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        using OwnedFd reading = new((int)_pipe.ClientSafePipeHandle.DangerousGetHandle());
        Input = reading.Duplicate();
        reading.SetHandleAsInvalid();
        _pipe.DisposeLocalCopyOfClientHandle();
        new Thread(CarryKeys) { Name = "keys", IsBackground = true }.Start();
    }

    /// <summary>What the guest's console reads. Whoever takes it disposes it.</summary>
    internal OwnedFd Input { get; }

    public void Dispose()
    {
    }

    /// <summary>What of some keys is the guest's.</summary>
    /// <param name="keys">As typed.</param>
    /// <param name="toGuest">Room for one more than that.</param>
    /// <param name="leave">Whether Ctrl-A x is among them; nothing counts after it.</param>
    /// <returns>Bytes for the guest.</returns>
    internal int Filter(ReadOnlySpan<byte> keys, Span<byte> toGuest, out bool leave)
    {
        int length = 0;
        leave = false;
        foreach (byte key in keys)
        {
            if (!_escaped && key == Escape)
            {
                _escaped = true;
                continue;
            }
            if (_escaped && key == (byte)'x')
            {
                leave = true;
                break;
            }
            if (_escaped && key != Escape) toGuest[length++] = Escape;
            _escaped = false;
            toGuest[length++] = key;
        }
        return length;
    }

    private void CarryKeys()
    {
        using Stream input = Console.OpenStandardInput();
        byte[] keys = new byte[256];
        byte[] toGuest = new byte[keys.Length + 1];
        int count;
        while ((count = input.Read(keys)) > 0)
        {
            int length = Filter(keys.AsSpan(0, count), toGuest, out bool leave);
            try
            {
                _pipe!.Write(toGuest, 0, length);
            }
            catch (IOException)
            {
                // The machine is gone, and its end of the pipe with it.
                return;
            }
            if (!leave) continue;
            _leave();
            return;
        }
    }
}
