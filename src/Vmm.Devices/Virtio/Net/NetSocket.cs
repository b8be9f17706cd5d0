using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A cable to another process, or to another device of this one: a Unix socket of datagrams, one a frame; or of a stream, each frame after
/// its length in 4 bytes, the highest first, as QEMU's <c>-netdev stream</c> has it. Frames are as on the wire. While no peer is at the
/// other end, frames are dropped and counted; a peer at a path is connected to again when it is back.
/// </summary>
public sealed class NetSocket : INetBackend
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string? _peerPath;
    private readonly bool _isStream;

    private NetSocket(string description, OwnedFd? peer, bool isStream, UnixSocket? listener = null, string? peerPath = null)
    {
        Description = description;
        End = new NetEnd(peer);
        Listener = listener;
        _peerPath = peerPath;
        _isStream = isStream;
    }

    /// <inheritdoc/>
    public string Description { get; }

    /// <inheritdoc/>
    public int QueuePairs => 1;

    /// <inheritdoc/>
    public NetOffloads Offloads => NetOffloads.None;

    /// <inheritdoc/>
    public bool CarriesHeader => false;

    /// <summary>Whether the other end is connected. Any thread.</summary>
    public bool IsConnected => End.IsThere;

    /// <summary>The peer of this moment.</summary>
    internal NetEnd End { get; }

    /// <summary>Where peers connect; null if there was one from the start.</summary>
    internal UnixSocket? Listener { get; }

    /// <summary>Whether a peer that is gone may be reached again where it was.</summary>
    internal bool CanReconnect => _peerPath is not null;

    /// <summary>
    /// Connects to the stream socket at a path; if nothing listens there, listens, for one peer after the other. A peer that was connected
    /// to and hangs up is connected to again when it listens there again: while a driver runs it is tried after 0.1 s, then ever less
    /// often, at least every 10 s.
    /// </summary>
    /// <param name="path">At most 107 bytes. Where it listens, only this user may connect, and the path is removed at the end.</param>
    /// <exception cref="NetworkException">It can do neither; the message says why.</exception>
    public static NetSocket Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string description = $"socket '{path}'";
        try
        {
            try
            {
                UnixSocket peer = UnixEndpoint.Connect(path);
                if (!peer.IsOfStranger(path, out uint user)) return new NetSocket(description, peer, isStream: true, peerPath: path);
                peer.Dispose();
                throw new NetworkException(
                    $"{description} is user {user}'s, in a directory where everyone may make one: use a directory of your own, "
                    + "such as one in /run");
            }
            catch (KernelException refused) when (refused.Errno is Errno.ConnectionRefused or Errno.NoEntry)
            {
                // No process listens there. connect(2) also refuses a file that is no socket: ListenAnew leaves such a file alone.
                return new NetSocket(description, peer: null, isStream: true, UnixEndpoint.ListenAnew(path, OwnerOnly));
            }
        }
        catch (KernelException refused)
        {
            throw new NetworkException(refused.Message) { HResult = refused.HResult };
        }
    }

    /// <summary>The two ends of a cable inside of this process.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public static (NetSocket A, NetSocket B) Pair()
    {
        (OwnedFd a, OwnedFd b) = UnixSocket.DatagramPair();
        return (OverDatagrams(a), OverDatagrams(b));
    }

    /// <summary>A cable over a connected socket of datagrams.</summary>
    /// <param name="socket">Taken over.</param>
    public static NetSocket OverDatagrams(OwnedFd socket) => new($"datagram socket {socket}", socket, isStream: false);

    /// <summary>A cable over a connected stream socket.</summary>
    /// <param name="socket">Taken over.</param>
    public static NetSocket OverStream(OwnedFd socket) => new($"stream socket {socket}", socket, isStream: true);

    /// <inheritdoc/>
    public Errno Configure(int headerLength, NetOffloads toGuest) => Errno.None;

    /// <inheritdoc/>
    public void SetActive(int pair, bool active)
    {
    }

    /// <inheritdoc/>
    public void SetLink(bool up)
    {
    }

    /// <inheritdoc/>
    public INetSource CreateSource(int pair, IReactor reactor, Action onReady) =>
        _isStream ? new StreamSource(this, reactor, onReady) : new FrameSource(End, reactor, onReady);

    /// <inheritdoc/>
    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) =>
        _isStream ? new StreamSink(this, reactor, onReady) : new FrameSink(End, reactor, onReady, isSocket: true);

    /// <inheritdoc/>
    public void Dispose()
    {
        End.Dispose();
        Listener?.RemovePath();
        Listener?.Dispose();
    }

    /// <summary>Connects to where the peer that is gone was.</summary>
    /// <returns>False if nothing listens there, or the listener has no room.</returns>
    internal bool TryReconnect()
    {
        if (UnixEndpoint.TryConnect(_peerPath!, isSeqPacket: false, out _) is not { } peer) return false;
        if (peer.IsOfStranger(_peerPath!, out _))
        {
            peer.Dispose();
            return false;
        }
        End.Change(peer);
        return true;
    }
}
