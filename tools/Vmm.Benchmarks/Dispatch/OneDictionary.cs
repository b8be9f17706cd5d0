using Vmm.Events.Native;

namespace Vmm.Benchmarks;

/// <summary>
/// The shape of a poll with tokens: the loop looks the handler of a token up in one map. A token is one descriptor's, so its handler knows
/// which it was, and compares nothing.
/// </summary>
internal sealed class OneDictionary : IEngine
{
    private const int BatchMax = 1024;
    private readonly EpollPoller _poller = new(BatchMax);
    private readonly Dictionary<ulong, TokenHandler> _ofToken = [];

    internal OneDictionary(EventFd[] fds)
    {
        for (int i = 0; i < fds.Length; i++)
        {
            ulong token = (ulong)i;
            _ofToken.Add(token, new CountingHandler(fds[i]));
            _poller.Add(fds[i].Number, Interest.Readable.Bits, token);
        }
    }

    public int Turn()
    {
        ReadOnlySpan<ReadyEvent> batch = _poller.Wait(timeoutMs: -1);
        foreach (ReadyEvent ready in batch)
        {
            if (_ofToken.TryGetValue(ready.Data, out TokenHandler? handler)) handler.Handle(ready.Events);
        }
        return batch.Length;
    }

    public void Dispose()
    {
        _poller.Dispose();
        foreach (TokenHandler handler in _ofToken.Values) handler.Dispose();
    }

    /// <summary>What a program keeps for a token.</summary>
    private abstract class TokenHandler : IDisposable
    {
        internal abstract void Handle(uint ready);

        public abstract void Dispose();
    }

    private sealed class CountingHandler(EventFd fd) : TokenHandler
    {
        private long _handled;

        internal override void Handle(uint ready)
        {
            if (fd.TryRead(out _)) _handled++;
        }

        public override void Dispose() => fd.Dispose();
    }
}
