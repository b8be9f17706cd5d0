using System.Net.Sockets;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;

namespace Vmm.Events.Tests.Rings;

/// <summary>Begins operations of every kind, and abandons, cancels or takes them, as a seed says.</summary>
internal sealed class GivenUpOperations : IDisposable
{
    private readonly RingTable _table;
    private readonly Random _random;
    private readonly List<IWaiting> _waiting = [];
    private readonly string _path;
    private readonly OwnedFd _disk;
    private readonly OwnedFd _readEnd;
    private readonly FileStream _writeEnd;
    private readonly OwnedFd[] _sockets;
    private readonly RingFile _diskFile;
    private readonly RingFile _pipe;
    private readonly RingFile _left;
    private readonly RingFile _right;
    private readonly Action[] _kinds;

    internal GivenUpOperations(RingTable table, Random random)
    {
        (_table, _random) = (table, random);
        _path = table.NewFile(new byte[8192]);
        _disk = RingTable.Open(_path);
        (_readEnd, _writeEnd) = RingTable.Pipe();
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        _sockets = [left, right];
        IoRing ring = table.Ring;
        (_diskFile, _pipe, _left, _right) = (ring.Register(_disk), ring.Register(_readEnd), ring.Register(left), ring.Register(right));
        _kinds =
        [
            () => Wait(ring.Read(_pipe, Rent()), read => read.Buffer.Release()),
            () => Wait(ring.Read(_diskFile, Rent(), Offset()), read => read.Buffer.Release()),
            () => Wait(ring.ReadV(_diskFile, [Rent(), Rent()], Offset()), read => Array.ForEach(read.Buffers, buffer => buffer.Release())),
            () => Wait(ring.Write(_diskFile, Frozen(), Offset()), written => written.Buffer.Release()),
            () => Wait(ring.WriteV(_diskFile, [Frozen(), Frozen()], Offset()), written => Array.ForEach(written.Buffers, buffer => buffer.Release())),
            () => Wait(ring.Receive(_right, Rent()), got => got.Buffer.Release()),
            () => Wait(ring.Send(_left, Frozen()), sent => sent.Buffer.Release()),
            () => Wait(ring.SendMessage(_left, Frozen(), _disk), sent => sent.Buffer.Release()),
            () => Wait(ring.ReceiveMessage(_right, Rent(), 4), got =>
            {
                got.Buffer.Release();
                foreach (OwnedFd descriptor in got.Descriptors) descriptor.Dispose();
            }),
            () => Wait(ring.Open(_path, 0), opened => opened.Descriptor?.Dispose()),
            () => Wait(ring.Stat(_path), _ => { }),
            () => Wait(ring.After(TimeSpan.FromMicroseconds(random.Next(300))), _ => { }),
            () => Wait(ring.UpdateFile(_diskFile, _disk), _ => { }),
            () => Wait(ring.Poll(_pipe, Interest.Readable), _ => { }),
            () => Wait(ring.Fsync(_diskFile), _ => { }),
            () =>
            {
                using RingChain chain = ring.Chain();
                Wait(ring.Read(_pipe, Rent()), read => read.Buffer.Release());
                Wait(ring.LinkTimeout(TimeSpan.FromMicroseconds(random.Next(300))), _ => { });
                Wait(ring.Write(_diskFile, Frozen(), 0), written => written.Buffer.Release());
            },
        ];
    }

    private interface IWaiting
    {
        bool IsCompleted { get; }

        void Cancel();

        void Abandon();

        void Take();
    }

    internal void Step()
    {
        _kinds[_random.Next(_kinds.Length)]();
        if (_random.Next(4) == 0) _table.Ring.Flush();
        if (_random.Next(3) == 0) _writeEnd.Write([1, 2, 3]);
        if (_random.Next(3) == 0) _table.Reactor.RunOnce(TimeSpan.Zero);
        if (_random.Next(2) == 0) GiveUpOne();
        if (_waiting.Count > 64) Settle();
    }

    /// <summary>Ends and takes all.</summary>
    internal void Settle()
    {
        foreach (IWaiting waiting in _waiting)
        {
            if (!waiting.IsCompleted) waiting.Cancel();
        }
        _table.RunUntil(() => _table.Ring.InFlight == 0, "what was cancelled");
        TakeAll();
    }

    /// <summary>After the ring's end, which completed all.</summary>
    public void Dispose()
    {
        TakeAll();
        foreach (RingFile file in (RingFile[])[_diskFile, _pipe, _left, _right]) file.Dispose();
        foreach (OwnedFd fd in (OwnedFd[])[_disk, _readEnd, .. _sockets]) fd.Dispose();
        _writeEnd.Dispose();
    }

    private void GiveUpOne()
    {
        int pick = _random.Next(_waiting.Count + 1);
        if (pick == _waiting.Count) return;
        IWaiting waiting = _waiting[pick];
        switch (_random.Next(3))
        {
            case 0:
                waiting.Abandon();
                _waiting.RemoveAt(pick);
                break;
            case 1 when !waiting.IsCompleted:
                waiting.Cancel();
                break;
            case 2 when waiting.IsCompleted:
                waiting.Take();
                _waiting.RemoveAt(pick);
                break;
        }
    }

    private void TakeAll()
    {
        foreach (IWaiting waiting in _waiting) waiting.Take();
        _waiting.Clear();
    }

    private void Wait<T>(RingOperation<T> operation, Action<T> giveBack) => _waiting.Add(new Waiting<T>(operation, giveBack));

    private SlabBuffer Rent() => _table.Pool.Rent(_random.Next(1, 5000));

    private FrozenBuffer Frozen() => _table.Frozen(new byte[_random.Next(1, 600)]);

    private ulong Offset() => (ulong)_random.Next(8192);

    private sealed class Waiting<T>(RingOperation<T> operation, Action<T> giveBack) : IWaiting
    {
        public bool IsCompleted => operation.IsCompleted;

        public void Cancel() => operation.Cancel();

        public void Abandon() => operation.Abandon();

        public void Take() => giveBack(operation.GetAwaiter().GetResult());
    }
}
