using System.Buffers.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>The host's socket: its first words, and what the reactor tells of it.</content>
internal sealed partial class VsockConnection
{
    /// <summary>Longest <c>CONNECT</c> line, with its end.</summary>
    internal const int GreetingBytesMax = 32;

    private static ReadOnlySpan<byte> Word => "CONNECT "u8;

    /// <summary>The reactor says that something happened to the socket.</summary>
    private void HostChanged(Readiness ready)
    {
        if (State == VsockState.Greeting)
        {
            Greet();
        }
        else
        {
            if (!_hostEnded && (ready.IsReadable || ready.IsReadHangUp || ready.IsHangUp || ready.IsError)) _hostReadable = true;
            if (_isBlocked && (ready.IsWritable || ready.IsHangUp || ready.IsError)) Flush();
            if (_hostEnded && ready.IsHangUp && Socket is not null) HostLeft();
            if (HasForGuest) device.Schedule(this);
        }
        device.ServeReceiveSoon();
    }

    /// <summary>Reads the line that says which port of the guest is meant. What follows it belongs to the guest.</summary>
    private void Greet()
    {
        Span<byte> line = stackalloc byte[GreetingBytesMax];
        Errno errno = Socket!.Peek(line, out uint received);
        if (errno == Errno.Again) return;
        line = line[..(int)received];
        int end = line.IndexOf((byte)'\n');
        if (errno == Errno.None && end < 0 && received is > 0 and < GreetingBytesMax && !Socket.Ends().PeerEnded) return;
        if (end < 0 || !TryParse(line[..end], out uint port))
        {
            device.Close(this);
            return;
        }
        Socket.Receive(line[..(end + 1)], out _);
        Granted = device.Register(this, port, out uint hostPort);
        (GuestPort, HostPort, State) = (port, hostPort, VsockState.Requested);
        Arm(device.Options.ConnectTimeout);
        Owe(Owed.Request);
    }

    private static bool TryParse(ReadOnlySpan<byte> line, out uint port)
    {
        port = 0;
        if (!line.StartsWith(Word)) return false;
        ReadOnlySpan<byte> number = line[Word.Length..];
        return Utf8Parser.TryParse(number, out port, out int used) && used == number.Length;
    }

    /// <summary>Tells the host that the guest accepted, and by which port the guest sees it.</summary>
    private void Answer()
    {
        Span<byte> line = stackalloc byte[GreetingBytesMax];
        "OK "u8.CopyTo(line);
        Utf8Formatter.TryFormat(HostPort, line[3..], out int digits);
        line[3 + digits] = (byte)'\n';
        if (Socket!.SendParts(line[..(4 + digits)], [], out _) != Errno.None) Reset();
    }
}
