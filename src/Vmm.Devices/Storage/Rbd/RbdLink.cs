using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// An image at work on a reactor: begins operations, and reaps in batches those that librbd signals. Shared by the queues of the disk.
/// On the reactor's thread.
/// </summary>
internal sealed class RbdLink
{
    /// <summary>Completions that are taken in one call.</summary>
    private const int BatchMax = 64;

    /// <summary>Completions that are taken in one turn: then the other devices have theirs.</summary>
    private const int TurnMax = 1024;

    private readonly RbdDisk _disk;
    private readonly IReactor _reactor;
    private readonly Subscription<EventFd> _completed, _changed;
    private readonly nint[] _batch = new nint[BatchMax];
    private readonly List<RbdTransfer> _all = [];
    private readonly Stack<RbdTransfer> _free = new();
    private bool _isShutOut;

    internal RbdLink(RbdDisk disk, RbdImage image, IReactor reactor)
    {
        _disk = disk;
        _reactor = reactor;
        Image = image.Handle;
        _completed = Interest.Kick.WithFd(image.Completed.Duplicate()).WithHandler(Reap);
        _changed = Interest.Kick.WithFd(image.Changed.Duplicate()).WithHandler(_ => disk.Follow());
        reactor.Add(_completed);
        reactor.Add(_changed);
    }

    internal nint Image { get; }

    internal List<RbdBlockEngine> Engines { get; } = [];

    internal void Begin(RbdBlockEngine engine, BlockOperation operation)
    {
        if (!_free.TryPop(out RbdTransfer? transfer))
        {
            transfer = new RbdTransfer(this, _all.Count);
            _all.Add(transfer);
        }
        transfer.Begin(engine, operation);
    }

    internal void Release(RbdTransfer transfer) => _free.Push(transfer);

    /// <summary>The cluster does not take anything from this client any more: said once.</summary>
    internal void NoticeShutOut()
    {
        if (_isShutOut) return;
        _isShutOut = true;
        _disk.NoticeShutOut();
    }

    internal void Close()
    {
        _reactor.Remove(_completed);
        _reactor.Remove(_changed);
    }

    private void Reap(EventFd signal)
    {
        for (int taken = 0; ;)
        {
            int count = RbdCalls.PollEvents(Image, _batch);
            for (int i = 0; i < count; i++)
            {
                nint completion = _batch[i];
                int index = (int)RbdCalls.ArgumentOf(completion);
                nint result = RbdCalls.ResultOf(completion);
                RbdCalls.Release(completion);
                _all[index].Completed(result);
            }
            taken += Math.Max(count, 0);
            if (count < BatchMax) break;
            if (taken < TurnMax) continue;
            signal.Signal();
            break;
        }
        for (int i = Engines.Count - 1; i >= 0; i--) Engines[i].Publish();
    }
}
