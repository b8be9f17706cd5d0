using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A cable to another process, or to another device of this one: a Unix socket of datagrams, one a frame; or of a stream, each frame after its length
/// in 4 bytes, the highest first, as QEMU's <c>-netdev stream</c> has it. Frames are as on the wire. While nobody is at the other end, frames go nowhere.
/// </summary>
public sealed class NetSocket : INetBackend
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly Lock _lock = new();
    private readonly string? _path;
    private readonly bool _isStream;
    private OwnedFd? _peer;

    private NetSocket(string description, OwnedFd? peer, UnixSocket? listener, string? path, bool isStream)
    {
        Description = description;
        _peer = peer;
        Listener = listener;
        _path = path;
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

    /// <summary>Connects to the stream socket at a path; if nobody listens there, listens, for one peer after the other.</summary>
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
                return new NetSocket(description, UnixSocket.Connect(path), listener: null, path: null, isStream: true);
            }
            catch (KernelException nobody) when (nobody.Errno == Errno.ConnectionRefused)
            {
                // Left behind by a process that is gone.
                File.Delete(path);
            }
            catch (KernelException nothing) when (nothing.Errno == Errno.NoEntry)
            {
            }
            return new NetSocket(description, peer: null, UnixSocket.Listen(path, OwnerOnly), path, isStream: true);
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
    public static NetSocket OverDatagrams(OwnedFd socket) => new($"datagram socket {socket}", socket, listener: null, path: null, isStream: false);

    /// <summary>A cable over a connected stream socket.</summary>
    /// <param name="socket">Taken over.</param>
    public static NetSocket OverStream(OwnedFd socket) => new($"stream socket {socket}", socket, listener: null, path: null, isStream: true);

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
