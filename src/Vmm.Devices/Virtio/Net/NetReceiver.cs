using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A receive queue at work: frames go from the network straight into the guest's buffers. Chains are taken when there may be a frame, as
/// many as one of late needed, and put back if there was none. What goes beyond them lands in a buffer of our own. On the queue's thread.
/// </summary>
internal sealed class NetReceiver : QueueWorker
{
    /// <summary>Frames after which the driver gets an interrupt while more come.</summary>
    private const int FramesPerPublish = 64;

    /// <summary>Most frames of one turn, wanted or not, each a call; then the other queues have theirs.</summary>
    private const int FramesPerTurnMax = 256;

    /// <summary>By this part of itself the expected length falls with each frame that is shorter.</summary>
    private const int ForgetShare = 8;

    private readonly NetDevice _device;
    private readonly int _pair;
    private readonly INetSource _source;
    private readonly NetCounters _counters;
    private readonly ReceiveChains _chains;
    private readonly int _headerLength;
    private readonly bool _carriesHeader;
    private readonly bool _merges;
    /// <summary>For a frame that does not fit: each byte at its place in the frame. One byte more than any frame has shows which ones are
    /// too long.</summary>
    private readonly PinnedBytes _overflow = new(NetProtocol.FrameBytesMax + 1);
    /// <summary>What the card of another process kept for this driver; it comes first.</summary>
    private readonly Queue<byte[]> _saved;
    private int _expected;
    /// <summary>
    /// Bytes of the frame in <see cref="_overflow"/> that waits for buffers, with those that are there taken; 0 if none does.
    /// </summary>
    private int _waiting;

    internal NetReceiver(NetDevice device, QueueContext context, int pair, NetCounters counters) : base(context)
    {
        _device = device;
        _pair = pair;
        _counters = counters;
        _headerLength = NetProtocol.HeaderLength(context.Driver.Features);
        _carriesHeader = device.Backend.CarriesHeader;
        _merges = context.Driver.Has(NetProtocol.FeatureMergeReceive);
        context.Turn.CallsMax = FramesPerTurnMax;
        _chains = new ReceiveChains(context, _headerLength);
        _saved = device.TakeSavedFrames(pair);
        _source = device.Backend.CreateSource(pair, context.Reactor, context.ServeNow);
        device.Pairs.SetRunning(pair, true);
    }

    /// <summary>Bytes at the start of each frame that the network does not give.</summary>
    private int Skip => _carriesHeader ? 0 : _headerLength;

    /// <summary>
    /// The frames that are here and not in the guest, each with its header, the oldest first: for a card of another process. The device is
    /// paused.
    /// </summary>
    internal IEnumerable<byte[]> Kept
    {
        get
        {
            if (_waiting > 0) yield return _overflow.AsSpan(0, _waiting).ToArray();
            foreach (byte[] frame in _saved) yield return frame;
            foreach (byte[] frame in (_source as IKeepsFrames)?.Kept ?? [])
            {
                int length = Skip + frame.Length;
                if (length < _headerLength + NetProtocol.EthernetHeaderLength || length > NetProtocol.FrameBytesMax) continue;
                if (_device.Filter is { IsPromiscuous: false } filter && !filter.Accepts(frame.AsSpan(_headerLength - Skip))) continue;
                yield return [.. new byte[Skip], .. frame];
            }
        }
    }

    /// <summary>Takes what the network has, as far as the driver has buffers.</summary>
    public override void Serve()
    {
        int frames = 0;
        while (Context.Turn.CallsLeft > 0 && TryDeliverWaiting() && _source.IsReady && _chains.TryGather(_expected))
        {
            _chains.Describe(Skip, _overflow);
            Errno errno = _source.Receive(_chains.Vectors, out int received);
            if (errno != Errno.None)
            {
                if (errno != Errno.Again) _device.ReportReceiveFault(errno);
                break;
            }
            Context.Turn.Charge(received, calls: 1);
            Deliver(Skip + received);
            if (++frames % FramesPerPublish == 0) Queue.Publish();
        }
        if (_waiting == 0) _chains.PutBack();
        if (Context.Turn.CallsLeft <= 0) Context.ServeLater();
    }

    /// <summary>
    /// The driver gets back what it did not get a frame in. A frame that waits for buffers is kept, unless the driver goes.
    /// </summary>
    public override void Quiesce(QuiesceReason reason)
    {
        if (reason != QuiesceReason.Pause) _device.Pairs.SetRunning(_pair, false);
        if (reason == QuiesceReason.Reset)
        {
            _waiting = 0;
            _saved.Clear();
        }
        _chains.PutBack();
    }

    public override void Resume() => _device.Pairs.SetRunning(_pair, true);

    protected override void Dispose(bool disposing)
    {
        _source.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>A frame is in the chains, and what they had no room for in our own buffer.</summary>
    /// <param name="length">Its bytes, the header counted.</param>
    private void Deliver(int length)
    {
        if (length < _headerLength + NetProtocol.EthernetHeaderLength || length > NetProtocol.FrameBytesMax || !_device.IsLinkUp)
        {
            _counters.CountReceiveDropped();
            return;
        }
        if (!IsWanted(length))
        {
            _counters.CountFiltered();
            return;
        }
        if (_merges) _expected = Math.Max(length, _expected - (_expected / ForgetShare));
        int described = _chains.Described;
        if (length > described)
        {
            if (_merges) _chains.TryGather(length);
            if (_chains.Room < (ulong)length)
            {
                Keep(described, length);
                return;
            }
            _chains.Write(described, _overflow.AsSpan(described, length - described));
        }
        Finish(length);
    }

    /// <summary>The driver has too few buffers for a frame: it waits for more, if there can be more.</summary>
    /// <param name="described">Bytes of it that are in the chains.</param>
    /// <param name="length">Its bytes.</param>
    private void Keep(int described, int length)
    {
        if (!_merges || !_chains.CanGrow)
        {
            _counters.CountReceiveDropped();
            return;
        }
        _chains.Read(0, _overflow.AsSpan(0, described));
        _waiting = length;
    }

    /// <summary>
    /// Delivers the frame that waits. The chains it waits with stay taken, so that the driver is asked to kick for those to come.
    /// </summary>
    /// <returns>False if it waits on.</returns>
    private bool TryDeliverWaiting()
    {
        while (_waiting > 0 || TryTakeSaved())
        {
            // Without merging a frame has one buffer, and no other makes it longer.
            _chains.TryGather(_merges ? _waiting : 0);
            if (_chains.Room >= (ulong)_waiting)
            {
                _chains.Write(0, _overflow.AsSpan(0, _waiting));
                Finish(_waiting);
            }
            else if (_merges ? _chains.CanGrow : _chains.Room == 0)
            {
                return false;
            }
            else
            {
                _counters.CountReceiveDropped();
            }
            _waiting = 0;
        }
        return true;
    }

    private bool TryTakeSaved()
    {
        if (!_saved.TryDequeue(out byte[]? frame)) return false;
        frame.CopyTo(_overflow.AsSpan());
        _waiting = frame.Length;
        return true;
    }

    private bool IsWanted(int length)
    {
        NetFilter filter = _device.Filter;
        if (filter.IsPromiscuous) return true;
        Span<byte> head = stackalloc byte[NetFilter.HeadLength];
        head = head[..Math.Min(length - _headerLength, head.Length)];
        int inChains = Math.Clamp(_chains.Described - _headerLength, 0, head.Length);
        _chains.Read(_headerLength, head[..inChains]);
        _overflow.AsSpan(_headerLength + inChains, head.Length - inChains).CopyTo(head[inChains..]);
        return filter.Accepts(head);
    }

    /// <summary>Completes the header, and gives the chains that a frame fills to the driver: in this order.</summary>
    private void Finish(int length)
    {
        int count = _chains.CountFor(length);
        ChainWriter header = _chains.Header;
        if (!_carriesHeader)
        {
            Span<byte> nothingLeftUndone = stackalloc byte[NetProtocol.HeaderBuffersOffset];
            nothingLeftUndone.Clear();
            header.TryWrite(nothingLeftUndone);
        }
        else
        {
            header.TrySkip(NetProtocol.HeaderBuffersOffset);
        }
        // How many chains the frame is in (§ 5.1.6.4).
        if (_headerLength > NetProtocol.HeaderBuffersOffset) header.TryWrite((ushort)count);
        _chains.Push(count, length);
        _counters.CountReceived();
    }
}
