using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A cable to another process, or to another device of this one: a Unix socket of datagrams, one a frame; or of a stream, each frame after its length
/// in 4 bytes, the highest first, as QEMU's <c>-netdev stream</c> has it. Frames are as on the wire. While nobody is at the other end, frames are dropped and
/// counted; a peer at a path is connected to again when it is back.
/// </summary>
public sealed class NetSocket : INetBackend
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly Lock _lock = new();
    private readonly string? _path;
    private readonly string? _peerPath;
    private readonly bool _isStream;
    private OwnedFd? _peer;

    private NetSocket(string description, OwnedFd? peer, bool isStream, UnixSocket? listener = null, string? path = null, string? peerPath = null)
    {
        Description = description;
        _peer = peer;
        Listener = listener;
        _path = path;
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

    /// <summary>Whether somebody is at the other end. Any thread.</summary>
    public bool IsConnected
    {
        get { lock (_lock) return _peer is not null; }
    }

    /// <summary>Where peers connect; null if there was one from the start.</summary>
    internal UnixSocket? Listener { get; }

    /// <summary>Whether a peer that is gone may be reached again where it was.</summary>
    internal bool CanReconnect => _peerPath is not null;

    /// <summary>
    /// Connects to the stream socket at a path; if nobody listens there, listens, for one peer after the other. A peer that was connected to and hangs up
    /// is connected to again when it listens there again: while a driver runs it is tried after 0.1 s, then ever less often, at least every 10 s.
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
                return new NetSocket(description, UnixSocket.Connect(path), isStream: true, peerPath: path);
            }
            catch (KernelException nobody) when (nobody.Errno == Errno.ConnectionRefused)
            {
                // Left behind by a process that is gone.
                File.Delete(path);
            }
            catch (KernelException nothing) when (nothing.Errno == Errno.NoEntry)
            {
            }
            return new NetSocket(description, peer: null, isStream: true, UnixSocket.Listen(path, OwnerOnly), path);
        }
        catch (Exception refused) when (refused is KernelException or ArgumentException or UnauthorizedAccessException)
        {
            throw new NetworkException(refused.Message);
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
        _isStream ? new StreamSource(this, reactor, onReady) : new DatagramSource(_peer!, reactor, onReady);

    /// <inheritdoc/>
    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) =>
        _isStream ? new StreamSink(this, reactor, onReady) : new DatagramSink(_peer!, reactor, onReady);

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _peer?.Dispose();
            _peer = null;
        }
        Listener?.Dispose();
        if (_path is not null) File.Delete(_path);
    }

    /// <summary>The peer of this moment, as a duplicate of the caller's own; null if there is none, or if it is the one the caller has.</summary>
    /// <param name="mine">The one the caller has a duplicate of; the one of this moment after.</param>
    internal OwnedFd? TakeChanged(ref OwnedFd? mine)
    {
        lock (_lock)
        {
            if (mine == _peer) return null;
            mine = _peer;
            return _peer?.Duplicate();
        }
    }

    /// <summary>Connects to where the peer that is gone was.</summary>
    /// <returns>False if nobody listens there, or whoever does has no room.</returns>
    internal bool TryReconnect()
    {
        if (UnixSocket.TryConnect(_peerPath!, isSeqPacket: false, out _) is not { } peer) return false;
        ChangePeer(peer);
        return true;
    }

    /// <summary>Somebody connected, or hung up (null).</summary>
    internal void ChangePeer(OwnedFd? peer)
    {
        lock (_lock)
        {
            _peer?.Dispose();
            _peer = peer;
        }
    }
}
