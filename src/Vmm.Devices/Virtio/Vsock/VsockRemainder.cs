using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The end of a stream whose guest has gone after an orderly SHUTDOWN: the bytes that the program of the host has not read yet. It closes
/// the socket behind the last of them. It needs neither the guest nor the device's queues any more.
/// </summary>
/// <param name="remainders">Where it is counted.</param>
/// <param name="socket">Taken over.</param>
/// <param name="bytes">What the program is to get.</param>
/// <param name="messages">For a socket of messages: the length of each; null for a stream.</param>
internal sealed class VsockRemainder(VsockRemainders remainders, UnixSocket socket, byte[] bytes, int[]? messages)
    : Subscription<UnixSocket>(socket, Interest.Writable.AndReadHangUp.EdgeTriggered)
{
    private int _sent;
    private int _messagesSent;

    public override string Name => "the end of a vsock stream";

    internal int Length => bytes.Length;

    /// <summary>Sends what the program takes now.</summary>
    /// <returns>False if nothing is left, or the program takes nothing any more.</returns>
    private bool TrySend()
    {
        while (messages is null ? _sent < bytes.Length : _messagesSent < messages.Length)
        {
            int next = messages is null ? bytes.Length - _sent : messages[_messagesSent];
            Errno errno = Fd.SendParts(bytes.AsSpan(_sent, next), [], out uint taken);
            if (errno == Errno.Again) return true;
            if (errno != Errno.None) return false;
            _sent += (int)taken;
            _messagesSent++;
        }
        return false;
    }

    protected override void Dispatch(Readiness ready, IReactor reactor)
    {
        if (!TrySend()) remainders.Remove(this, reactor);
    }
}

/// <summary>
/// The remainders of a device, bounded in number and bytes: beyond that the oldest is dropped, whose program has had the longest time to
/// read it. A subscriber of its own, which outlives the driver. On the device's reactor.
/// </summary>
internal sealed class VsockRemainders(int countMax, Action onDropped) : Subscriber("the ends of vsock streams")
{
    /// <summary>Most bytes of all remainders together: as much as the connections of a device may keep.</summary>
    private const long BytesMax = 128 << 20;

    private readonly LinkedList<VsockRemainder> _oldestFirst = new();
    private long _bytes;

    internal int Count => _oldestFirst.Count;

    /// <summary>Keeps the end of a stream until the program of the host has read it.</summary>
    /// <exception cref="KernelException">The socket can't be watched.</exception>
    internal void Add(IReactor reactor, UnixSocket socket, byte[] bytes, int[]? messages)
    {
        VsockRemainder remainder = new(this, socket, bytes, messages);
        remainder.OwnedBy(this).RegisterInto(reactor);
        _oldestFirst.AddLast(remainder);
        _bytes += remainder.Length;
        while (_bytes > BytesMax || _oldestFirst.Count > countMax)
        {
            Remove(_oldestFirst.First!.Value, reactor);
            onDropped();
        }
    }

    internal void Remove(VsockRemainder remainder, IReactor reactor)
    {
        if (!_oldestFirst.Remove(remainder)) return;
        _bytes -= remainder.Length;
        reactor.Remove(remainder);
    }
}
