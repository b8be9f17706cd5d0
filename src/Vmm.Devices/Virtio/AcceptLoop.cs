using System.Runtime.ExceptionServices;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>
/// Accepts the connections of a listening socket, as a task of a reactor: each when its owner is ready for one more, some in a turn, and
/// again after every error. A connection that waits in the backlog gives no second event, so no error may end the loop. On the reactor's
/// thread, or before it runs.
/// </summary>
internal sealed class AcceptLoop
{
    /// <summary>Most connections of one turn; then the other sources have theirs.</summary>
    private const int AcceptsPerTurnMax = 64;

    /// <summary>How long accepting pauses after an error, such as no descriptor left: no event says when there is one.</summary>
    internal static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(100);

    private readonly IReactor _reactor;
    private readonly Func<UnixSocket, bool> _onPeer;
    private readonly Action<Errno, string>? _onFailure;
    private readonly ReactorTimer _again;
    private readonly TaskDoorbell _wake;
    /// <summary>Null for a loop that has one connection from the start.</summary>
    private readonly Subscription<UnixSocket>? _listening;
    private UnixSocket? _connected;
    private ExceptionDispatchInfo? _failure;
    private volatile bool _isHeld = true;
    private bool _isOver;

    /// <summary>Watches a socket. Nothing is accepted before <see cref="Next"/>.</summary>
    /// <param name="socket">Listens, or is the one connection there will ever be; taken over.</param>
    /// <param name="reactor">The reactor that accepts. A bug in <paramref name="onPeer"/> is the failure of the owner of what is added
    /// there.</param>
    /// <param name="onPeer">
    /// Takes a peer over. Returns whether the next may come now; if not, <see cref="Next"/> says when. If it throws a
    /// <see cref="KernelException"/> the peer is closed, or tried again if it is the only one.
    /// </param>
    /// <param name="onFailure">Gets each error, and what could not be done: <c>cannot accept a connection</c>. Null: no report.</param>
    /// <param name="isConnected">Whether the socket is a connection.</param>
    /// <exception cref="KernelException">The reactor cannot watch it. It stays the caller's.</exception>
    internal AcceptLoop(UnixSocket socket, IReactor reactor, Func<UnixSocket, bool> onPeer, Action<Errno, string>? onFailure = null,
        bool isConnected = false)
    {
        _reactor = reactor;
        _onPeer = onPeer;
        _onFailure = onFailure;
        ReactorTasks tasks = ReactorTasks.Of(reactor);
        _wake = new TaskDoorbell(tasks);
        // Now: when there is no descriptor for a connection there is none for a first timer either.
        _again = ReactorTimers.Of(reactor).Create((_, _) => _wake.Set(), "accepts again");
        if (isConnected)
        {
            _connected = socket;
        }
        else
        {
            _listening = Interest.Readable.EdgeTriggered.WithFd(socket).WithHandler(_ => BecameReadable());
            reactor.Add(_listening);
        }
        tasks.Spawn(static loop => loop.Run(), this).Detach();
    }

    /// <summary>Has the next connection come. Any thread.</summary>
    internal void Next()
    {
        _isHeld = false;
        _wake.Ring();
    }

    /// <summary>Accepts no more, and closes the socket.</summary>
    internal void Stop()
    {
        _isOver = true;
        if (_again.IsArmed) _again.Cancel();
        if (_listening is { IsRegistered: true }) _reactor.Remove(_listening);
        _connected?.Dispose();
        _wake.Set();
    }

    private void BecameReadable()
    {
        _failure?.Throw();
        _wake.Set();
    }

    private async ReactorTask Run()
    {
        while (!_isOver)
        {
            int left = AcceptsPerTurnMax;
            while (left > 0 && TryTake()) left--;
            // Through the remote endpoint, behind the descriptors that are ready.
            if (left == 0) _wake.Ring();
            await _wake;
        }
    }

    /// <summary>Takes one connection.</summary>
    /// <returns>Whether there may be another one for now.</returns>
    private bool TryTake()
    {
        if (_isHeld || _isOver || _failure is not null) return false;
        Errno errno = Errno.Again;
        UnixSocket? peer = _connected ?? (_listening is { IsRegistered: true } ? _listening.Fd.Accept(out errno) : null);
        if (peer is null) return errno != Errno.Again && Pause(errno, "cannot accept a connection");
        _connected = null;
        _isHeld = true;
        try
        {
            if (_onPeer(peer)) _isHeld = false;
            return true;
        }
        catch (KernelException refused)
        {
            _isHeld = false;
            if (_listening is null) _connected = peer;
            else peer.Dispose();
            return Pause(refused.Errno, refused.Message);
        }
        catch (Exception bug) when (_listening is { IsRegistered: true })
        {
            // Thrown again by the socket's own handler: its owner is disposed as after every failed handler.
            peer.Dispose();
            _failure = ExceptionDispatchInfo.Capture(bug);
            _reactor.DispatchAgain(_listening);
            return false;
        }
    }

    private bool Pause(Errno errno, string what)
    {
        _again.Arm(Retry);
        _onFailure?.Invoke(errno, what);
        return false;
    }
}
