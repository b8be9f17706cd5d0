namespace Vmm.Devices;

/// <summary>The queue pairs of a card: the network gives frames to those whose receive queue runs and that the driver uses.</summary>
internal sealed class NetPairs(INetBackend backend, int count)
{
    private readonly Lock _lock = new();
    private readonly bool[] _running = new bool[count];

    /// <summary>Pairs that there are.</summary>
    internal int Count => count;

    /// <summary>Pairs that the driver uses, the first ones.</summary>
    internal int Active { get; private set; }

    /// <summary>A receive queue starts or stops, on its thread.</summary>
    internal void SetRunning(int pair, bool running)
    {
        lock (_lock)
        {
            _running[pair] = running;
            backend.SetActive(pair, running && pair < Active);
        }
    }

    /// <summary>The driver uses the first pairs.</summary>
    internal void SetActive(int pairs)
    {
        lock (_lock)
        {
            Active = pairs;
            for (int i = 0; i < count; i++) backend.SetActive(i, _running[i] && i < pairs);
        }
    }
}
