using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A Unix socket whose owner takes those who connect one by one, when it is ready for one more. The others wait.</summary>
internal sealed class HostListener : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>How long accepting pauses when this process can open no more descriptors: no event says when it can.</summary>
    internal static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(100);

    private readonly RemoteEndpoint _remote;
    private readonly Func<UnixSocket, IReactor, bool> _onPeer;
    private readonly Doorbell _next;
    private readonly Subscription<UnixSocket> _waiting;
    private ReactorTimer? _again;
    private bool _disposed;

    /// <summary>Listens; a socket that a process that is gone left there is replaced.</summary>
    /// <param name="path">At most 107 bytes; only this user may connect. Removed at the end.</param>
    /// <param name="reactor">The reactor that accepts.</param>
    /// <param name="onPeer">Takes a peer over, on the reactor. Returns whether the next may come now; if not, <see cref="TakeNext"/> says
    /// when.</param>
    /// <exception cref="KernelException">Another socket listens there, something else is there, or the directory can't be
    /// written.</exception>
    internal HostListener(string path, RemoteEndpoint reactor, Func<UnixSocket, IReactor, bool> onPeer)
    {
        _remote = reactor;
        _onPeer = onPeer;
        Path = path;
        _waiting = Interest.Readable.OneShot.WithFd(UnixSocket.ListenAnew(path, OwnerOnly)).WithHandler(Accept);
        _next = reactor.CreateDoorbell(Arm);
        reactor.Post(ops =>
        {
            // Now: when there is no descriptor for a connection there is none for a first timer either.
            _again = ReactorTimers.Of(ops).Create((_, again) => Arm(again), "a listener");
            ops.Add(_waiting);
        });
    }

    /// <summary>What is wrong with a path for a socket, in a sentence; null if nothing is.</summary>
    internal static string? Failure(string path)
    {
        int bytes = Encoding.UTF8.GetByteCount(path);
        return bytes <= UnixSocket.PathBytesMax
            ? null : $"the socket path '{path}' has {bytes} bytes: give it at most {UnixSocket.PathBytesMax}";
    }

    /// <summary>Where it listens.</summary>
    internal string Path { get; }

    /// <summary>Has the next come. Any thread.</summary>
    internal void TakeNext() => _next.TryRing();

    /// <summary>Listens no more, and removes the path. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _waiting.Fd.RemovePath();
        try
        {
            _remote.Invoke(ops =>
            {
                _again?.Cancel();
                ops.Remove(_waiting);
            });
        }
        catch (ReactorStoppedException)
        {
            _waiting.Fd.Dispose();
        }
    }

    private void Accept(UnixSocket listening, IReactor reactor)
    {
        UnixSocket? peer = listening.Accept(out Errno errno);
        if (peer is not null)
        {
            if (_onPeer(peer, reactor)) Arm(reactor);
        }
        else if (errno == Errno.Again)
        {
            // It left before it was accepted.
            Arm(reactor);
        }
        else
        {
            _again!.Arm(Retry);
        }
    }

    private void Arm(IReactor reactor)
    {
        if (_waiting.IsRegistered) reactor.Modify(_waiting, Interest.Readable.OneShot);
    }
}
