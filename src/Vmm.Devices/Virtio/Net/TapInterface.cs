using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A TAP interface of the host (tuntap.rst of the kernel's documentation): its other side is a network interface like any, to be put on a
/// bridge or given an address. One queue of it for each queue pair. An interface that is deleted is a cable without another end;
/// one that is made again under its name is opened again.
/// </summary>
public sealed class TapInterface : INetBackend
{
    private readonly Lock _lock = new();
    private readonly NetEnd[] _queues;
    private readonly bool[] _active;
    private bool _isLinkUp = true;
    private int _headerLength;
    private NetOffloads _toGuest;

    private TapInterface(string name, OwnedFd[] queues)
    {
        Name = name;
        _queues = [.. queues.Select(queue => new NetEnd(queue))];
        _active = [.. queues.Select(_ => true)];
        Offloads = Probe(queues[0].Number);
    }

    /// <summary>The interface's name.</summary>
    public string Name { get; }

    /// <inheritdoc/>
    public string Description => $"tap '{Name}'";

    /// <inheritdoc/>
    public int QueuePairs => _queues.Length;

    /// <inheritdoc/>
    public NetOffloads Offloads { get; }

    /// <inheritdoc/>
    public bool CarriesHeader => true;

    /// <summary>Opens an interface, or makes one, which needs CAP_NET_ADMIN and goes when it is closed.</summary>
    /// <param name="name">At most 15 bytes.</param>
    /// <param name="queues">Queues to open; more than one only of an interface that was made with <c>multi_queue</c>.</param>
    /// <exception cref="NetworkException">It can't be opened; the message says why and what to do.</exception>
    public static TapInterface Open(string name, int queues = 1)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfLessThan(queues, 1);
        if (Encoding.UTF8.GetByteCount(name) > TunCalls.NameLengthMax)
            throw new NetworkException($"tap '{name}': a network interface's name has at most {TunCalls.NameLengthMax} bytes");
        List<OwnedFd> opened = [];
        try
        {
            while (opened.Count < queues) opened.Add(OpenQueue(name, queues));
            return new TapInterface(name, [.. opened]);
        }
        catch
        {
            opened.ForEach(queue => queue.Dispose());
            throw;
        }
    }

    /// <inheritdoc/>
    public Errno Configure(int headerLength, NetOffloads toGuest)
    {
        lock (_lock)
        {
            (_headerLength, _toGuest) = (headerLength, toGuest);
            Errno errno = Errno.None;
            UseFirst(queue => errno = Configure(queue));
            // One that was deleted is watched for until it is there again.
            return errno == Errno.BadDescriptorState ? Errno.None : errno;
        }
    }

    /// <inheritdoc/>
    public void SetActive(int pair, bool active)
    {
        lock (_lock)
        {
            // With one queue there is no other to spread frames over: those of a stopped guest wait, as many as the interface keeps.
            if (_queues.Length == 1 || _active[pair] == active) return;
            _active[pair] = active;
            _queues[pair].TryUse(queue => _ = TunCalls.SetActive(queue.Number, active));
        }
    }

    /// <inheritdoc/>
    public void SetLink(bool up)
    {
        lock (_lock)
        {
            _isLinkUp = up;
            UseFirst(queue => _ = TunCalls.SetLink(queue.Number, up));
        }
    }

    /// <inheritdoc/>
    public INetSource CreateSource(int pair, IReactor reactor, Action onReady) =>
        new FrameSource(_queues[pair], reactor, onReady, () => TryReopen(pair));

    /// <inheritdoc/>
    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) =>
        new FrameSink(_queues[pair], reactor, onReady, isSocket: false);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (NetEnd queue in _queues) queue.Dispose();
    }

    private static OwnedFd OpenQueue(string name, int queues, bool isThere = false)
    {
        const short Flags = TunCalls.IFF_TAP | TunCalls.IFF_NO_PI | TunCalls.IFF_VNET_HDR;
        OwnedFd? queue = TryOpenQueue(name, queues == 1 ? Flags : (short)(Flags | TunCalls.IFF_MULTI_QUEUE), isThere, out Errno errno);
        // An interface that was made for several queues takes one too, if it is asked as it was made.
        if (errno == Errno.Invalid && queues == 1) queue = TryOpenQueue(name, Flags | TunCalls.IFF_MULTI_QUEUE, isThere, out errno);
        return queue ?? throw Refused(name, queues, errno);
    }

    private static OwnedFd? TryOpenQueue(string name, short flags, bool isThere, out Errno errno)
    {
        OwnedFd? queue = TunCalls.TryOpenQueue(name, flags, isThere, out errno);
        if (queue is not null || BrokerLink.Current is not { } broker || !BrokerLink.MayHelp(errno)) return queue;
        int attached = broker.Ask(BrokerCall.Tap, name, out errno, (ushort)flags, option: isThere ? (byte)1 : (byte)0);
        return attached >= 0 ? new OwnedFd(attached) : null;
    }

    private static NetworkException Refused(string name, int queues, Errno errno) => new(errno switch
    {
        Errno.NoEntry or Errno.NoDevice =>
            $"tap '{name}': the host's TAP device, {TunCalls.Path}, cannot be opened: load the kernel's module with modprobe tun",
        Errno.NotPermitted or Errno.AccessDenied =>
            $"tap '{name}': it cannot be opened: {KernelException.Describe(errno)}: have an administrator make it with "
            + $"ip tuntap add '{name}' mode tap user {Environment.UserName}",
        Errno.Busy => $"tap '{name}' is in use by another process: close that one, or name another interface",
        Errno.Invalid when queues > 1 =>
            $"tap '{name}' is no TAP interface of several queues: make it with ip tuntap add '{name}' mode tap multi_queue, "
            + "or ask for one queue",
        Errno.Invalid => $"'{name}' is a network interface, but no TAP: make one with ip tuntap add NAME mode tap",
        _ => $"tap '{name}': it cannot be opened: {KernelException.Describe(errno)}",
    })
    { HResult = (int)errno };

    /// <summary>What this kernel's TAP takes over, found by asking for it (virtio's UFO and USO are not in all).</summary>
    private static NetOffloads Probe(int queue)
    {
        const NetOffloads Always = NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn;
        const NetOffloads Uso = NetOffloads.Uso4 | NetOffloads.Uso6;
        NetOffloads[] sets = [Always | NetOffloads.Ufo | Uso, Always | Uso, Always | NetOffloads.Ufo, Always];
        NetOffloads found = sets.FirstOrDefault(set => TunCalls.SetOffloads(queue, BitsOf(set)) == Errno.None);
        _ = TunCalls.SetOffloads(queue, 0);
        return found;
    }

    private static uint BitsOf(NetOffloads offloads)
    {
        (NetOffloads Offload, uint Bit)[] bits =
        [
            (NetOffloads.Checksum, TunCalls.TUN_F_CSUM), (NetOffloads.Tso4, TunCalls.TUN_F_TSO4), (NetOffloads.Tso6, TunCalls.TUN_F_TSO6),
            (NetOffloads.Ecn, TunCalls.TUN_F_TSO_ECN), (NetOffloads.Ufo, TunCalls.TUN_F_UFO), (NetOffloads.Uso4, TunCalls.TUN_F_USO4),
            (NetOffloads.Uso6, TunCalls.TUN_F_USO6),
        ];
        return bits.Where(pair => offloads.HasFlag(pair.Offload)).Aggregate(0u, (all, pair) => all | pair.Bit);
    }

    /// <summary>Opens a queue again whose interface was deleted.</summary>
    /// <returns>False if there is no such interface yet. It is not made: the program that deleted it is about to make it again.</returns>
    private bool TryReopen(int pair)
    {
        OwnedFd queue;
        try
        {
            queue = OpenQueue(Name, _queues.Length, isThere: true);
        }
        catch (NetworkException)
        {
            return false;
        }
        lock (_lock)
        {
            if (_headerLength > 0) _ = Configure(queue);
            _ = TunCalls.SetLink(queue.Number, _isLinkUp);
            if (!_active[pair]) _ = TunCalls.SetActive(queue.Number, false);
            _queues[pair].Change(queue);
        }
        return true;
    }

    private Errno Configure(OwnedFd queue)
    {
        Errno errno = TunCalls.SetHeader(queue.Number, _headerLength);
        return errno != Errno.None ? errno : TunCalls.SetOffloads(queue.Number, BitsOf(_toGuest));
    }

    private void UseFirst(Action<OwnedFd> use)
    {
        foreach (NetEnd queue in _queues)
        {
            if (queue.TryUse(use)) return;
        }
    }
}
