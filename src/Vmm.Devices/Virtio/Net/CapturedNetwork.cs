using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A network whose frames are written to a capture file too, in both directions.</summary>
/// <param name="network">Taken over.</param>
/// <param name="capture">Taken over.</param>
internal sealed class CapturedNetwork(INetBackend network, PacketCapture capture) : INetBackend
{
    private volatile int _headerLength;

    public string Description => network.Description;

    public int QueuePairs => network.QueuePairs;

    public NetOffloads Offloads => network.Offloads;

    public bool CarriesHeader => network.CarriesHeader;

    public Errno Configure(int headerLength, NetOffloads toGuest)
    {
        _headerLength = CarriesHeader ? headerLength : 0;
        return network.Configure(headerLength, toGuest);
    }

    public void SetActive(int pair, bool active) => network.SetActive(pair, active);

    public void SetLink(bool up) => network.SetLink(up);

    public INetSource CreateSource(int pair, IReactor reactor, Action onReady) =>
        new Source(this, network.CreateSource(pair, reactor, onReady));

    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) => new Sink(this, network.CreateSink(pair, reactor, onReady));

    public void Dispose()
    {
        network.Dispose();
        capture.Dispose();
    }

    private void Add(ReadOnlySpan<IoVector> vectors, long length) => capture.Add(vectors, _headerLength, length);

    private sealed class Source(CapturedNetwork captured, INetSource source) : INetSource, IKeepsFrames
    {
        public IEnumerable<byte[]> Kept => (source as IKeepsFrames)?.Kept ?? [];

        public bool IsReady => source.IsReady;

        public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
        {
            Errno errno = source.Receive(vectors, out length);
            if (errno == Errno.None) captured.Add(vectors, length);
            return errno;
        }

        public void Dispose() => source.Dispose();
    }

    private sealed class Sink(CapturedNetwork captured, INetSink sink) : INetSink
    {
        public Errno Send(ReadOnlySpan<IoVector> vectors)
        {
            Errno errno = sink.Send(vectors);
            if (errno == Errno.None) captured.Add(vectors, long.MaxValue);
            return errno;
        }

        public void Dispose() => sink.Dispose();
    }
}
