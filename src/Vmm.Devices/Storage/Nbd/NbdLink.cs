using System.Diagnostics;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>
/// A disk's connections on one reactor, shared by the queues that this reactor serves. While there is none, requests wait; what was
/// sent and not answered is sent again on the next one. On the reactor's thread.
/// </summary>
internal sealed class NbdLink
{
    /// <summary>Longest time between two tries to connect.</summary>
    private static readonly TimeSpan RetryMax = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan RetryFirst = TimeSpan.FromMilliseconds(20);

    private readonly NbdDisk _disk;
    private readonly IReactor _reactor;
    private readonly RemoteEndpoint _remote;
    private readonly ReactorTimer _retry, _expiry;
    private readonly List<NbdBlockEngine> _engines = [];
    private readonly List<NbdTransfer> _all = [];
    private readonly Stack<NbdTransfer> _free = new();
    private readonly NbdChannel?[] _channels;
    private NbdList _waiting, _forTurn;
    private NbdTransfer? _hasTurn;
    private TimeSpan _retryIn = RetryFirst;
    private int _connecting;
    private long _downSince;
    private bool _isClosed;

    internal NbdLink(NbdDisk disk, IReactor reactor, NbdConnection? spare)
    {
        _disk = disk;
        _reactor = reactor;
        _remote = ReactorTasks.Of(reactor).Remote;
        ReactorTimers timers = ReactorTimers.Of(reactor);
        _retry = timers.Create((_, _) => Connect(), "reconnection to an NBD server");
        _expiry = timers.Create((_, _) => Expire(), "patience with an NBD server");
        _channels = new NbdChannel?[disk.Export.Can(NbdFlags.CanMultiConn) ? disk.ConnectionsPerReactor : 1];
        if (spare is not null) _channels[0] = new NbdChannel(this, reactor, spare);
        else _downSince = Stopwatch.GetTimestamp();
        Connect();
    }

    internal NbdExport Export => _disk.Export;

    internal IReactor Reactor => _reactor;

    private bool IsAnyMissing => Array.Exists(_channels, channel => channel is null);

    /// <summary>Whether there is a connection. Any thread.</summary>
    internal bool IsUp => Array.Exists(_channels, channel => channel is not null);

    internal NbdBlockEngine Add(Action onCompleted)
    {
        NbdBlockEngine engine = new(_disk, this, onCompleted);
        _engines.Add(engine);
        return engine;
    }

    internal void Remove(NbdBlockEngine engine) => _engines.Remove(engine);

    /// <summary>Begins an operation; <see cref="Flush"/> sends its request.</summary>
    internal void Begin(NbdBlockEngine engine, BlockOperation operation)
    {
        if (!_free.TryPop(out NbdTransfer? transfer))
        {
            transfer = new NbdTransfer(this, (uint)_all.Count);
            _all.Add(transfer);
        }
        transfer.Begin(engine, operation);
    }

    /// <summary>An operation is over.</summary>
    internal void Release(NbdTransfer transfer)
    {
        _free.Push(transfer);
        if (_hasTurn != transfer) return;
        _hasTurn = null;
        if (_forTurn.Take() is { } next) Send(next);
    }

    /// <summary>The transfer whose request has a cookie; null if there is none.</summary>
    internal NbdTransfer? Find(ulong cookie)
    {
        uint index = (uint)cookie;
        return index < (uint)_all.Count && _all[(int)index] is { Engine: not null } transfer && transfer.Cookie == cookie ? transfer : null;
    }

    /// <summary>Takes a request: for a connection, or to wait for one.</summary>
    internal void Send(NbdTransfer transfer)
    {
        if (transfer.NeedsTurn && _hasTurn != transfer)
        {
            if (_hasTurn is not null)
            {
                _forTurn.Add(transfer);
                return;
            }
            _hasTurn = transfer;
        }
        if (Idlest() is { } channel) channel.Add(transfer);
        else Wait(transfer);
    }

    /// <summary>Sends what was gathered.</summary>
    internal void Flush()
    {
        foreach (NbdChannel? channel in _channels) channel?.Flush();
    }

    /// <summary>A request was answered.</summary>
    internal void Answered(NbdTransfer transfer)
    {
        _retryIn = RetryFirst;
        transfer.Answered();
    }

    /// <summary>Shows the drivers what ended.</summary>
    internal void Publish()
    {
        for (int i = _engines.Count - 1; i >= 0; i--) _engines[i].Publish();
    }

    /// <summary>A connection is over: what it had is sent again on another, now or later.</summary>
    /// <param name="channel">The connection.</param>
    /// <param name="why">The rest of a sentence that starts with the server.</param>
    internal void Lost(NbdChannel channel, string why)
    {
        int index = Array.IndexOf(_channels, channel);
        if (index < 0) return;
        _channels[index] = null;
        channel.Dispose();
        long now = Stopwatch.GetTimestamp();
        if (!IsUp)
        {
            _downSince = now;
            _disk.NoticeLoss(why);
        }
        foreach (NbdTransfer transfer in _all)
        {
            if (transfer.Channel != channel) continue;
            transfer.Channel = null;
            if (transfer.LostAt == 0) transfer.LostAt = now;
            if (Idlest() is { } other) other.Add(transfer);
            else _waiting.Add(transfer);
        }
        Expire();
        Flush();
        Await();
        Publish();
    }

    /// <summary>The driver of a queue goes: while there is no connection, its requests are not waited for.</summary>
    internal void Abandon(NbdBlockEngine engine)
    {
        if (!IsUp) GiveUp(transfer => transfer.Engine == engine, hasDriver: false);
    }

    /// <summary>The last engine is gone, and nothing is in flight.</summary>
    /// <returns>A connection for the next link; null if there is none.</returns>
    internal NbdConnection? Close()
    {
        _isClosed = true;
        _retry.Cancel();
        _expiry.Cancel();
        NbdConnection? spare = null;
        for (int i = 0; i < _channels.Length; i++)
        {
            NbdChannel? channel = _channels[i];
            _channels[i] = null;
            if (spare is null && channel is { IsIdle: true }) spare = channel.Detach();
            else channel?.Dispose();
        }
        return spare;
    }

    private NbdChannel? Idlest()
    {
        NbdChannel? idlest = null;
        foreach (NbdChannel? channel in _channels)
        {
            if (channel is not null && (idlest is null || channel.InFlight < idlest.InFlight)) idlest = channel;
        }
        return idlest;
    }

    private void Wait(NbdTransfer transfer)
    {
        if (transfer.LostAt == 0) transfer.LostAt = _downSince;
        _waiting.Add(transfer);
        if (_disk.Patience == Timeout.InfiniteTimeSpan) return;
        TimeSpan left = _disk.Patience - Stopwatch.GetElapsedTime(transfer.LostAt);
        // The turn ends with a look at what has waited too long.
        if (!_expiry.IsArmed || left <= TimeSpan.Zero) _expiry.Arm(left > TimeSpan.Zero ? left : TimeSpan.Zero);
    }

    /// <summary>Fails what has waited for too long.</summary>
    private void Expire()
    {
        if (_disk.Patience == Timeout.InfiniteTimeSpan) return;
        long now = Stopwatch.GetTimestamp();
        GiveUp(transfer => Stopwatch.GetElapsedTime(transfer.LostAt, now) >= _disk.Patience);
        long first = long.MaxValue;
        for (NbdTransfer? transfer = _waiting.First; transfer is not null; transfer = transfer.Next) first = Math.Min(first,
            transfer.LostAt);
        if (first == long.MaxValue) return;
        TimeSpan left = _disk.Patience - Stopwatch.GetElapsedTime(first);
        _expiry.Arm(left > TimeSpan.Zero ? left : TimeSpan.Zero);
    }

    /// <summary>Fails some of what waits.</summary>
    private void GiveUp(Func<NbdTransfer, bool> which, bool hasDriver = true)
    {
        NbdList waiting = _waiting, forTurn = _forTurn;
        (_waiting, _forTurn) = (default, default);
        List<NbdTransfer> gone = [];
        while (waiting.Take() is { } transfer)
        {
            if (which(transfer)) gone.Add(transfer); else _waiting.Add(transfer);
        }
        while (forTurn.Take() is { } transfer)
        {
            if (_downSince != 0 && transfer.LostAt == 0) transfer.LostAt = _downSince;
            if (!IsUp && which(transfer)) gone.Add(transfer); else _forTurn.Add(transfer);
        }
        foreach (NbdTransfer transfer in gone) transfer.GiveUp(hasDriver);
        Publish();
    }

    /// <summary>Tries again, after a while that grows.</summary>
    private void Await()
    {
        if (_isClosed || _retry.IsArmed || _connecting > 0 || !IsAnyMissing) return;
        _retry.Arm(_retryIn);
        _retryIn = TimeSpan.FromTicks(Math.Min(2 * _retryIn.Ticks, RetryMax.Ticks));
    }

    /// <summary>Has the pool make a connection, if one is missing.</summary>
    private void Connect()
    {
        if (_isClosed || _connecting > 0 || !IsAnyMissing) return;
        _connecting++;
        _ = Task.Run(() =>
        {
            (NbdConnection? connection, string why) = _disk.TryConnect();
            if (!_remote.TryPost(new Arrival(this, connection, why))) connection?.Dispose();
        });
    }

    private void Arrived(NbdConnection? connection, string why)
    {
        _connecting--;
        int place = Array.IndexOf(_channels, null);
        if (_isClosed || connection is null || place < 0)
        {
            connection?.Dispose();
            if (_isClosed || place < 0) return;
            if (!IsUp) _disk.NoticeFailure(why);
            Await();
            return;
        }
        bool wasDown = !IsUp;
        _channels[place] = new NbdChannel(this, _reactor, connection);
        if (wasDown)
        {
            _downSince = 0;
            _expiry.Cancel();
            _disk.NoticeReturn();
            NbdList waiting = _waiting;
            _waiting = default;
            while (waiting.Take() is { } transfer) Send(transfer);
        }
        Flush();
        Await();
    }

    private sealed class Arrival(NbdLink link, NbdConnection? connection, string why) : RemoteCall
    {
        protected override void Run(IReactor reactor) => link.Arrived(connection, why);

        protected override void Abandon(ReactorStoppedException reason) => connection?.Dispose();
    }
}
