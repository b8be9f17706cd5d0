using System.Buffers.Text;
using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <content>The host's socket: its first words, and its events.</content>
internal sealed partial class VsockConnection
{
    /// <summary>Longest <c>CONNECT</c> line, with its end.</summary>
    internal const int GreetingBytesMax = 32;

    private static ReadOnlySpan<byte> Word => "connect"u8;

    /// <summary>White space between words, as far as it is ASCII.</summary>
    private static ReadOnlySpan<byte> Space => " \t\r\v\f"u8;

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
            else if (ready.IsHangUp && Socket is not null) HostHungUp();
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
        Arm(device.Spec.ConnectTimeout);
        SendLater(PendingPackets.Request);
    }

    /// <summary>
    /// Reads the line as Firecracker does: words between any white space, the first is "connect" in any case, the second the port. Further
    /// words mean nothing.
    /// </summary>
    private static bool TryParse(ReadOnlySpan<byte> line, out uint port)
    {
        ReadOnlySpan<byte> word = TakeWord(ref line), number = TakeWord(ref line);
        if (number.Length > 1 && number[0] == (byte)'+') number = number[1..];
        port = 0;
        return Ascii.EqualsIgnoreCase(word, Word) && Utf8Parser.TryParse(number, out port, out int used) && used == number.Length;
    }

    private static ReadOnlySpan<byte> TakeWord(ref ReadOnlySpan<byte> line)
    {
        line = line.TrimStart(Space);
        int length = line.IndexOfAny(Space);
        ReadOnlySpan<byte> word = length < 0 ? line : line[..length];
        line = line[word.Length..];
        return word;
    }

    /// <summary>Answers the host program that the guest accepted, with the port by which the guest sees it.</summary>
    private void Answer()
    {
        Span<byte> line = stackalloc byte[GreetingBytesMax];
        "OK "u8.CopyTo(line);
        Utf8Formatter.TryFormat(HostPort, line[3..], out int digits);
        line[3 + digits] = (byte)'\n';
        if (Socket!.SendParts(line[..(4 + digits)], [], out _) != Errno.None) Reset();
    }
}
