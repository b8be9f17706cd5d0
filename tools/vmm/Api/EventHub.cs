using System.Threading.Channels;

namespace Vmm.Tool;

/// <summary>Hands what happens to those who read events now. Thread-safe; it never waits for a reader.</summary>
internal sealed class EventHub
{
    /// <summary>What is kept for a reader that is slow; the oldest goes first.</summary>
    private const int BacklogMax = 256;

    private readonly Lock _changes = new();
    private volatile Channel<ApiEvent>[] _readers = [];

    /// <summary>Whether anything is read.</summary>
    internal bool HasReaders => _readers.Length > 0;

    internal void Publish(ApiEvent happened)
    {
        foreach (Channel<ApiEvent> reader in _readers) reader.Writer.TryWrite(happened);
    }

    /// <summary>Reads what happens from now on, until the subscription is disposed.</summary>
    internal IDisposable Subscribe(out ChannelReader<ApiEvent> events)
    {
        Channel<ApiEvent> reader = Channel.CreateBounded<ApiEvent>(
            new BoundedChannelOptions(BacklogMax) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
        lock (_changes) _readers = [.. _readers, reader];
        events = reader.Reader;
        return new Subscription(this, reader);
    }

    private sealed class Subscription(EventHub hub, Channel<ApiEvent> reader) : IDisposable
    {
        public void Dispose()
        {
            lock (hub._changes) hub._readers = [.. hub._readers.Where(each => each != reader)];
            reader.Writer.TryComplete();
        }
    }
}
