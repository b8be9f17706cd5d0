using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>
/// Lets programs of the host say, while the machine runs, how much memory they want of it: a Unix socket that takes lines. <c>target
/// MIB</c> sets the balloon's target, <c>target</c> prints it, <c>stats</c> asks the guest for its statistics, <c>help</c> lists these.
/// Each line is answered by one:
/// <c>ok</c> and amounts as <c>name_bytes=N</c>, or <c>error</c> and a sentence.
/// </summary>
/// <example><c>echo target 64 | socat - UNIX-CONNECT:/run/vm/balloon</c></example>
internal sealed class BalloonControl : IDisposable
{
    /// <summary>Most connections at once; who comes then waits until one hangs up.</summary>
    public const int ConnectionsMax = 8;

    private readonly BalloonDevice _balloon;
    private readonly RemoteEndpoint _remote;
    private readonly HostListener _listener;
    private readonly Dictionary<BalloonControlSession, ReactorTask> _sessions = [];

    /// <summary>Listens; a socket that a process that is gone left there is replaced.</summary>
    /// <param name="balloon">The balloon. It outlives this.</param>
    /// <param name="path">At most 107 bytes; only this user and root get an answer. Removed at the end.</param>
    /// <param name="reactor">The reactor that serves who connects.</param>
    /// <exception cref="KernelException">Another socket listens there, something else is there, or the directory can't be
    /// written.</exception>
    public BalloonControl(BalloonDevice balloon, string path, RemoteEndpoint reactor)
    {
        _balloon = balloon;
        _remote = reactor;
        _listener = new HostListener(path, reactor, Welcome);
    }

    /// <summary>Where it listens.</summary>
    public string Path => _listener.Path;

    /// <summary>Listens no more, hangs up, and removes the path. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        _listener.Dispose();
        try
        {
            _remote.Invoke(_ =>
            {
                foreach (ReactorTask session in _sessions.Values) session.Abort();
            });
        }
        catch (ReactorStoppedException)
        {
            // It let go of everything it watched.
        }
    }

    private bool Welcome(UnixSocket peer, IReactor reactor)
    {
        // A wider mode of the socket does not make other users the machine's.
        if (!UnixSocket.IsPeerTrusted(peer.Number))
        {
            _ = peer.Send("error this machine is controlled by its own user and root only\n"u8, [], out _);
            peer.Dispose();
            return true;
        }
        BalloonControlSession session = new(_balloon, peer, reactor);
        // A client may have said all and hung up by the time it is known.
        ReactorTask task = ReactorTasks.Of(reactor).Spawn(() => session.Run(Ended));
        if (task.IsCompleted) task.Detach();
        else _sessions.Add(session, task);
        return _sessions.Count < ConnectionsMax;
    }

    private void Ended(BalloonControlSession session)
    {
        if (_sessions.Remove(session, out ReactorTask task)) task.Detach();
        if (_sessions.Count == ConnectionsMax - 1) _listener.TakeNext();
    }
}
