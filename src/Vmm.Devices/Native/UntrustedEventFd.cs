using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// An eventfd that another process sent and still shares: the call of a vring. That process can clear its O_NONBLOCK flag at any time and fill
/// its counter, and then a write(2) to it would block for ever. So it is never written to: the kernel signals it for the completion of an empty
/// operation on a ring of our own (io_uring_register_eventfd(3)), which saturates the counter instead of waiting. Thread-safe.
/// </summary>
internal sealed class UntrustedEventFd : IDisposable
{
    private readonly Lock _lock = new();
    private readonly OwnedFd _fd;
    private SignalRing? _ring;
    private bool _withoutRing;
    private bool _disposed;

    private UntrustedEventFd(OwnedFd fd) => _fd = fd;

    /// <summary>Takes over a descriptor if it is an eventfd; otherwise it stays the caller's.</summary>
    internal static bool TryAdopt(int fd, [NotNullWhen(true)] out UntrustedEventFd? adopted)
    {
        adopted = FdInspection.IsEventFd(fd) ? new UntrustedEventFd(new OwnedFd(fd)) : null;
        return adopted is not null;
    }

    /// <summary>Adds 1 to the counter. One that is full is readable already: that counts as delivered. Nothing after it was disposed.</summary>
    internal void Signal()
    {
        lock (_lock)
        {
            if (_disposed) return;
            // The ring is made with the first signal: most connections that only negotiate never need it.
            if (_ring is null && !_withoutRing)
            {
                _ring = SignalRing.TryCreate(_fd.Number);
                _withoutRing = _ring is null;
            }
            if (_ring is not null) _ring.Signal(); else SignalRing.WriteIfRoom(_fd.Number);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed) return;
            _disposed = true;
            _ring?.Dispose();
            _fd.Dispose();
        }
    }
}
