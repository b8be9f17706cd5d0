using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// A descriptor that another process sent and still shares, and that we signal: the call or error of a vring. That process can clear its
/// O_NONBLOCK flag at any time and fill it, and then a write(2) would block for ever, so it is never written to.
/// <list type="bullet">
/// <item>An eventfd: the kernel signals it for the completion of an empty operation of our own (<see cref="SignalQueue"/>), which saturates
/// the counter instead of waiting.</item>
/// <item>A Unix stream socket, which User Mode Linux uses because SIGIO does not come from eventfds: send(2) with MSG_DONTWAIT.</item>
/// </list>
/// A pipe is refused: a write to one takes its lock first, and its reader can hold that lock for ever while it reads into memory that
/// faults. Thread-safe.
/// </summary>
internal sealed class UntrustedSignal : IDisposable
{
    private readonly Lock _lock = new();
    private readonly OwnedFd _fd;
    private readonly UnixSocket? _socket;
    private bool _disposed;

    private UntrustedSignal(OwnedFd fd)
    {
        _fd = fd;
        _socket = fd as UnixSocket;
    }

    /// <summary>Takes over a descriptor if it is an eventfd or a Unix stream socket; otherwise it stays the caller's.</summary>
    internal static bool TryAdopt(int fd, [NotNullWhen(true)] out UntrustedSignal? adopted)
    {
        adopted = FdInspection.IsEventFd(fd) ? new UntrustedSignal(new OwnedFd(fd))
            : UnixSocket.IsUnixStream(fd) ? new UntrustedSignal(new UnixSocket(fd))
            : null;
        return adopted is not null;
    }

    /// <summary>
    /// Adds 1 to the counter, or sends the number 1 in 8 bytes. A peer that has not read what came before is woken by that: a full counter
    /// or socket counts as signalled. Does nothing after <see cref="Dispose"/>.
    /// </summary>
    internal void Signal()
    {
        lock (_lock)
        {
            if (_disposed) return;
            if (_socket is not null)
            {
                ReadOnlySpan<ulong> one = [1];
                // A Unix stream takes 8 bytes whole or not at all: the peer never sees a part of the number.
                _ = _socket.Send(MemoryMarshal.AsBytes(one), [], out _);
                return;
            }
            if (SignalQueue.OfThread is not { } queue || !queue.TrySignal(_fd.Number)) SignalQueue.WriteIfRoom(_fd.Number);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            _fd.Dispose();
        }
    }
}
