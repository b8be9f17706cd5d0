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
    /// Frames after which the driver gets its buffers back while more are sent: it fills the ring meanwhile, in place of after it.
    /// </summary>
    private const int FramesPerPublish = 32;

    internal static readonly GuestFault NoFrame = new(GuestFaultKind.Request, "a packet to send shorter than its header (§ 5.1.6.2)");

    private readonly NetDevice _device;
    private readonly NetCounters _counters;
    private readonly INetSink _sink;
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
        VirtQueue queue = Queue;
        int frames = 0;
        while (!_isBlocked && queue.TryPop(out DescriptorChain? chain))
        {
            Errno errno = Send(chain);
            if (errno == Errno.Again)
            {
                queue.Unpop(chain);
                _isBlocked = true;
                return;
            }
            Context.Turn.Charge((long)chain.ReadableLength);
            bool isFrame = chain.ReadableLength >= (ulong)_headerLength;
            queue.Push(chain, 0);
            if (!isFrame) queue.Fault(NoFrame);
            if (++frames % FramesPerPublish == 0) queue.Publish();
        }
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
