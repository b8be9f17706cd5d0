namespace Vmm.Devices;

/// <summary>What became of the frames of a network device.</summary>
/// <param name="Received">Frames the guest got.</param>
/// <param name="Sent">Frames the network took.</param>
/// <param name="Filtered">Frames the driver did not want, by its receive filter.</param>
/// <param name="ReceiveDropped">Frames the driver had no large enough buffer for, that came while the link was down, or that were
/// none.</param>
/// <param name="SendDropped">Frames of the guest that made no sense, that the link was down for, that found no peer or that the
/// network refused.</param>
public readonly record struct NetStatistics(long Received, long Sent, long Filtered, long ReceiveDropped, long SendDropped);

/// <summary>The counters of one queue pair. Each is counted by one queue's thread, and read by any.</summary>
internal sealed class NetCounters
{
    private long _received;
    private long _sent;
    private long _filtered;
    private long _receiveDropped;
    private long _sendDropped;

    internal NetStatistics Statistics => new(Volatile.Read(ref _received), Volatile.Read(ref _sent), Volatile.Read(ref _filtered),
        Volatile.Read(ref _receiveDropped), Volatile.Read(ref _sendDropped));

    internal void CountReceived() => Volatile.Write(ref _received, _received + 1);

    internal void CountSent() => Volatile.Write(ref _sent, _sent + 1);

    internal void CountFiltered() => Volatile.Write(ref _filtered, _filtered + 1);

    internal void CountReceiveDropped() => Volatile.Write(ref _receiveDropped, _receiveDropped + 1);

    internal void CountSendDropped() => Volatile.Write(ref _sendDropped, _sendDropped + 1);
}
