using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A transmit queue at work: frames go straight from the guest's buffers to the network. Where that has no room, the frame stays in the
/// ring, and the driver's ring fills up behind it. On the queue's thread.
/// </summary>
internal sealed class NetTransmitter : QueueWorker
{
    /// <summary>Most vectors of one frame: what drivers send has at most 19 buffers.</summary>
    private const int VectorsMax = 256;

    /// <summary>Most bytes of one turn; then the other queues have theirs.</summary>
    private const long BytesPerTurnMax = 1 << 20;

    /// <summary>
    /// Frames that are taken before the first of them is sent: the processor fetches their bytes, which the driver's has, meanwhile. After
    /// each batch the driver gets its buffers back, so that it fills the ring while the next one is sent.
    /// </summary>
    private const int FramesPerBatch = 32;

    internal static readonly GuestFault NoFrame = new(GuestFaultKind.Request, "a packet to send shorter than its header (§ 5.1.6.2)");

    private readonly NetDevice _device;
    private readonly NetCounters _counters;
    private readonly INetSink _sink;
    private readonly DescriptorChain[] _batch = new DescriptorChain[FramesPerBatch];
    private readonly IoVector[] _vectors = new IoVector[VectorsMax];
    private readonly int _headerLength;
    private readonly int _skip;
    private bool _isBlocked;

    internal NetTransmitter(NetDevice device, QueueContext context, int pair, NetCounters counters) : base(context)
    {
        _device = device;
        _counters = counters;
        _headerLength = NetProtocol.HeaderLength(context.Driver.Features);
        _skip = device.Backend.CarriesHeader ? 0 : _headerLength;
        context.Turn.BytesMax = BytesPerTurnMax;
        _sink = device.Backend.CreateSink(pair, context.Reactor, Unblock);
    }

    /// <summary>Sends what the driver has made available, as far as the network takes it.</summary>
    public override void Serve()
    {
        while (!_isBlocked && TakeBatch() is > 0 and int count)
        {
            int sent = SendBatch(count);
            while (count > sent) PutBack(_batch[--count]);
            Queue.Publish();
        }
    }

    /// <summary>Takes the next frames out of the ring.</summary>
    /// <returns>How many.</returns>
    private int TakeBatch()
    {
        VirtQueue queue = Queue;
        int count = 0;
        while (count < FramesPerBatch && queue.TryPop(out DescriptorChain? chain))
        {
            Context.Turn.Charge((long)chain.ReadableLength);
            chain.Readable.Prefetch();
            _batch[count++] = chain;
        }
        return count;
    }

    /// <summary>Sends frames, until the network has no room or the driver gave something that is none.</summary>
    /// <returns>How many are done with.</returns>
    private int SendBatch(int count)
    {
        VirtQueue queue = Queue;
        for (int i = 0; i < count; i++)
        {
            DescriptorChain chain = _batch[i];
            _isBlocked = Send(chain) == Errno.Again;
            if (_isBlocked) return i;
            bool isFrame = chain.ReadableLength >= (ulong)_headerLength;
            queue.Push(chain, 0);
            if (isFrame) continue;
            queue.Fault(NoFrame);
            return i + 1;
        }
        return count;
    }

    private void PutBack(DescriptorChain chain)
    {
        Context.Turn.Charge(-(long)chain.ReadableLength);
        Queue.Unpop(chain);
    }

    protected override void Dispose(bool disposing)
    {
        _sink.Dispose();
        base.Dispose(disposing);
    }

    private Errno Send(DescriptorChain chain)
    {
        // No network carries a longer frame, nor one in so many pieces; what the guest wrote into the header is checked by who acts on it.
        if (chain.ReadableLength <= (ulong)_headerLength || chain.ReadableLength > NetProtocol.FrameBytesMax || !_device.IsLinkUp)
            return Drop();
        int count = chain.Readable.FillVectors(_vectors, (ulong)_skip, NetProtocol.FrameBytesMax, out ulong described);
        if (described + (ulong)_skip < chain.ReadableLength) return Drop();
        Errno errno = _sink.Send(_vectors.AsSpan(0, count));
        if (errno == Errno.None) _counters.CountSent();
        else if (errno != Errno.Again) _counters.CountSendDropped();
        if (errno is not (Errno.None or Errno.Again or Errno.Invalid or Errno.BrokenPipe)) _device.ReportSendFault(errno);
        return errno;
    }

    private Errno Drop()
    {
        _counters.CountSendDropped();
        return Errno.Invalid;
    }

    private void Unblock()
    {
        _isBlocked = false;
        Context.ServeNow();
    }
}
