using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// The descriptors that came with one message. Whatever is not taken out of it is closed when it is cleared, so no path that refuses a
/// message leaks one.
/// </summary>
internal sealed class ReceivedFds : IDisposable
{
    /// <summary>
    /// Most descriptors of one message: a memory table of eight regions. Those a peer sends beyond that never reach this process: the
    /// control buffer has no room for them and the kernel drops them.
    /// </summary>
    internal const int CountMax = 8;

    private const int Taken = -1;

    private readonly int[] _fds = new int[CountMax];

    /// <summary>How many came; those that were taken count too.</summary>
    internal int Count { get; private set; }

    internal int Room => CountMax - Count;

    /// <summary>Whether there is one to close.</summary>
    internal bool AnyLeft => _fds.AsSpan(0, Count).ContainsAnyExcept(Taken);

    internal void Add(int fd)
    {
        Debug.Assert(Count < CountMax, "more descriptors than the control buffer has room for");
        _fds[Count++] = fd;
    }

    /// <summary>A descriptor's number, still owned here.</summary>
    internal int Peek(int index) => _fds[index];

    /// <summary>Gives a descriptor to the caller, who owns it from now on.</summary>
    internal int Take(int index)
    {
        int fd = _fds[index];
        Debug.Assert(index < Count && fd != Taken, "a descriptor is taken once");
        _fds[index] = Taken;
        return fd;
    }

    /// <summary>Closes what was not taken and forgets the message.</summary>
    internal void Clear()
    {
        for (int i = 0; i < Count; i++)
        {
            if (_fds[i] != Taken) _ = SocketCalls.Close(_fds[i]);
        }
        Count = 0;
    }

    public void Dispose() => Clear();
}
