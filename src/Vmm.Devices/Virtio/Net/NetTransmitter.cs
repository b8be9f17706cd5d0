using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A transmit queue at work: frames go straight from the guest's buffers to the network. Where that has no room, the frame stays in the ring, and the
/// driver's ring fills up behind it. On the queue's thread.
/// </summary>
internal sealed class NetTransmitter : IDisposable
{
    /// <summary>Most vectors of one frame: what drivers send has at most 19 buffers.</summary>
    private const int VectorsMax = 256;

    /// <summary>Most bytes of one turn; then the other queues have theirs.</summary>
    private const ulong BytesPerTurnMax = 1 << 20;

    internal static readonly GuestFault NoFrame = new(GuestFaultKind.Request, "a packet to send shorter than its header (§ 5.1.6.2)");

    private readonly NetDevice _device;
    private readonly VirtQueue _queue;
    private readonly NetCounters _counters;
    private readonly INetSink _sink;
    private readonly IoVector[] _vectors = new IoVector[VectorsMax];
    private readonly int _headerLength;
    private readonly int _skip;
    private bool _isBlocked;

    internal NetTransmitter(NetDevice device, VirtQueue queue, Func<Action, INetSink> open, NetCounters counters, ulong features, bool carriesHeader)
    {
        _device = device;
        _queue = queue;
        _counters = counters;
        _headerLength = NetProtocol.HeaderLength(features);
        _skip = carriesHeader ? 0 : _headerLength;
        _sink = open(Unblock);
    }

    /// <summary>Sends what the driver has made available, as far as the network takes it.</summary>
    internal void Serve()
    {
        ulong bytes = 0;
        while (!_isBlocked && _queue.TryPop(out DescriptorChain? chain))
        {
            Errno errno = Send(chain);
            if (errno == Errno.Again)
            {
                _queue.Unpop(chain);
                _isBlocked = true;
                return;
            }
            bytes += chain.ReadableLength;
            bool isFrame = chain.ReadableLength >= (ulong)_headerLength;
            _queue.Push(chain, 0);
            if (!isFrame) _queue.Fault(NoFrame);
            if (bytes < BytesPerTurnMax) continue;
            _device.ServeLater(_queue);
            return;
        }
    }

    public void Dispose() => _sink.Dispose();

    private Errno Send(DescriptorChain chain)
    {
        // No network carries a longer frame, nor one in so many pieces; what the guest wrote into the header is checked by who acts on it.
        if (chain.ReadableLength <= (ulong)_headerLength || chain.ReadableLength > NetProtocol.FrameBytesMax || !_device.IsLinkUp) return Drop();
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
        _device.Serve(_queue.Index);
    }
}
