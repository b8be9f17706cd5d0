using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace Vmm.Devices;

/// <summary>
/// The connection to the broker of this process, which opens what the sandbox does not let this one open. Asked where the kernel refused
/// only.
/// </summary>
/// <remarks>Thread-safe: one request at a time.</remarks>
[SuppressMessage("Reliability", "CA1001", Justification = "There is one, for the life of the process.")]
internal sealed class BrokerLink
{
    private const int PatienceMs = 30_000;

    private readonly Lock _lock = new();
    private readonly UnixSocket _asks;
    private readonly ReceivedFds _received = new();
    private volatile HashSet<string>? _own;
    private bool _isGone;

    private BrokerLink(int asks, int brings) => (_asks, Visitors) = (new UnixSocket(asks), new UnixSocket(brings));

    /// <summary>Null for a process without one.</summary>
    internal static BrokerLink? Current { get; private set; }

    /// <summary>Brings the connections of the control API.</summary>
    internal UnixSocket Visitors { get; }

    /// <summary>From now on this process makes sockets for what its options name only, by full paths.</summary>
    internal void Enclose(IEnumerable<string> own) => _own = [.. own];

    /// <summary>What makes a socket for a path; null if this process does it itself.</summary>
    internal static BrokerLink? ForSocket(string path)
    {
        if (Current is not { _own: { } own } broker) return null;
        string full = Path.GetFullPath(path);
        // A device for vsock adds the number of a port.
        int end = full.LastIndexOf('_');
        return own.Contains(full) || end > 0 && own.Contains(full[..end]) ? null : broker;
    }

    /// <summary>
    /// Has this process ask a broker from now on, before it starts a thread: one descriptor takes requests, the other brings connections.
    /// Both are taken over.
    /// </summary>
    internal static void Use(int asks, int brings) => Current = new BrokerLink(asks, brings);

    /// <summary>Whether an error may be the sandbox's.</summary>
    internal static bool MayHelp(Errno errno) =>
        errno is Errno.AccessDenied or Errno.NoEntry or Errno.NotPermitted or Errno.ReadOnlyFileSystem;

    /// <summary>Whether an operator may name a path: what the kernel shows of itself is the same for all.</summary>
    internal static bool IsNamed(string path) => path != TunCalls.Path
        && !path.StartsWith("/sys/", StringComparison.Ordinal) && !path.StartsWith("/proc/", StringComparison.Ordinal);

    /// <summary>Asks for a descriptor.</summary>
    /// <returns>Its number, which is the caller's; -1 and an error if there is none.</returns>
    internal int Ask(BrokerCall call, string path, out Errno errno, uint first = 0, uint second = 0, byte option = 0)
    {
        errno = Errno.NameTooLong;
        string named = call == BrokerCall.Tap ? path : Path.GetFullPath(path);
        if (new BrokerRequest(call, option, first, second, named).ToBytes() is not { } message) return -1;
        lock (_lock)
        {
            _received.Clear();
            errno = Errno.AccessDenied;
            if (_isGone) return -1;
            Span<byte> answer = stackalloc byte[BrokerRequest.AnswerBytes];
            _isGone = _asks.Send(message, [], out _) != message.Length || !_asks.WaitReadable(PatienceMs)
                || _asks.Receive(answer, _received).Bytes != answer.Length;
            if (_isGone) return -1;
            errno = (Errno)BinaryPrimitives.ReadInt32LittleEndian(answer);
            return errno == Errno.None && _received.Count == 1 ? _received.Take(0) : -1;
        }
    }

    /// <summary>Has the broker end, and waits for that: what it listens at is removed by then.</summary>
    internal void End()
    {
        lock (_lock)
        {
            _isGone = true;
            _asks.Dispose();
        }
        // The other end is closed when it has ended. A client that connects to the API meanwhile is refused.
        using ReceivedFds late = new();
        byte[] sign = new byte[1];
        while (Visitors.WaitReadable(PatienceMs) && Visitors.Receive(sign, late).Bytes > 0) late.Clear();
    }
}
