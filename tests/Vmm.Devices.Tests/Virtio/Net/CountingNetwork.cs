using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A network without frames that notes what it is told.</summary>
internal sealed class CountingNetwork(int pairs) : INetBackend
{
    public string Description => "a network without frames";

    public int QueuePairs => pairs;

    public NetOffloads Offloads { get; init; }

    public bool CarriesHeader => true;

    internal bool[] Active { get; } = new bool[pairs];

    internal NetOffloads ToGuest { get; private set; }

    internal int HeaderLength { get; private set; }

    /// <summary>Called for each frame of the guest, with how many there were, this one included.</summary>
    internal Action<int> OnSend { get; init; } = static _ => { };

    private int _sent;

    public Errno Configure(int headerLength, NetOffloads toGuest)
    {
        (HeaderLength, ToGuest) = (headerLength, toGuest);
        return Errno.None;
    }

    public void SetActive(int pair, bool active) => Active[pair] = active;

    public void SetLink(bool up)
    {
    }

    public INetSource CreateSource(int pair, IReactor reactor, Action onReady) => new Ends(this);

    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) => new Ends(this);

    public void Dispose()
    {
    }

    private sealed class Ends(CountingNetwork network) : INetSource, INetSink
    {
        public bool IsReady => false;

        public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
        {
            length = 0;
            return Errno.Again;
        }

        public Errno Send(ReadOnlySpan<IoVector> vectors)
        {
            network.OnSend(++network._sent);
            return Errno.None;
        }

        public void Dispose()
        {
        }
    }
}
