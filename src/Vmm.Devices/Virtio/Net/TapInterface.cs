using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A TAP interface of the host (tuntap.rst of the kernel's documentation): its other side is a network interface like any, to be put on a bridge or
/// given an address. One queue of it for each queue pair.
/// </summary>
public sealed class TapInterface : INetBackend
{
    private readonly OwnedFd[] _queues;
    private readonly bool[] _active;

    private TapInterface(string name, OwnedFd[] queues)
    {
        Name = name;
        _queues = queues;
        _active = [.. queues.Select(_ => true)];
        Offloads = Probe();
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
        Errno errno = TunCalls.SetHeader(_queues[0].Number, headerLength);
        return errno != Errno.None ? errno : TunCalls.SetOffloads(_queues[0].Number, BitsOf(toGuest));
    }

    /// <inheritdoc/>
    public void SetActive(int pair, bool active)
    {
        // With one queue there is nobody else to spread frames over: those of a stopped guest wait, as many as the interface keeps.
        if (_queues.Length == 1 || _active[pair] == active) return;
        _active[pair] = active;
        _ = TunCalls.SetActive(_queues[pair].Number, active);
    }

    /// <inheritdoc/>
    public void SetLink(bool up) => _ = TunCalls.SetLink(_queues[0].Number, up);

    /// <inheritdoc/>
    public INetSource CreateSource(int pair, IReactor reactor, Action onReady) => new Source(_queues[pair], reactor, onReady);

    /// <inheritdoc/>
    public INetSink CreateSink(int pair, IReactor reactor, Action onReady) => new Sink(_queues[pair], reactor, onReady);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (OwnedFd queue in _queues) queue.Dispose();
    }

    private static OwnedFd OpenQueue(string name, int queues)
    {
        const short Flags = TunCalls.IFF_TAP | TunCalls.IFF_NO_PI | TunCalls.IFF_VNET_HDR;
        int number = FileCalls.Open(TunCalls.Path, FileCalls.O_RDWR | FileCalls.O_NONBLOCK | FileCalls.O_CLOEXEC);
        if (number < 0) throw Refused(name, queues, FileCalls.LastError, "the host's TAP device, /dev/net/tun, cannot be opened");
        OwnedFd queue = new(number);
        Errno errno = TunCalls.Attach(number, name, queues == 1 ? Flags : (short)(Flags | TunCalls.IFF_MULTI_QUEUE));
        // An interface that was made for several queues takes one too, if it is asked as it was made.
        if (errno == Errno.Invalid && queues == 1) errno = TunCalls.Attach(number, name, Flags | TunCalls.IFF_MULTI_QUEUE);
        if (errno == Errno.None) return queue;
        queue.Dispose();
        throw Refused(name, queues, errno, "it cannot be opened");
    }

    private static NetworkException Refused(string name, int queues, Errno errno, string what) => new(errno switch
    {
        Errno.NoEntry or Errno.NoDevice => $"tap '{name}': {what}: load the kernel's module with modprobe tun",
        Errno.NotPermitted or Errno.AccessDenied =>
            $"tap '{name}': {what}: {KernelException.Describe(errno)}: have an administrator make it with ip tuntap add '{name}' mode tap user {Environment.UserName}",
        Errno.Busy => $"tap '{name}' is in use by another process: close that one, or name another interface",
        Errno.Invalid when queues > 1 =>
            $"tap '{name}' is no TAP interface of several queues: make it with ip tuntap add '{name}' mode tap multi_queue, or ask for one queue",
        Errno.Invalid => $"'{name}' is a network interface, but no TAP: make one with ip tuntap add NAME mode tap",
        _ => $"tap '{name}': {what}: {KernelException.Describe(errno)}",
    });

    /// <summary>What this kernel's TAP takes over, found by asking for it (virtio's UFO and USO are not in all).</summary>
    private NetOffloads Probe()
    {
        const NetOffloads Always = NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn;
        const NetOffloads Uso = NetOffloads.Uso4 | NetOffloads.Uso6;
        NetOffloads[] sets = [Always | NetOffloads.Ufo | Uso, Always | Uso, Always | NetOffloads.Ufo, Always];
        NetOffloads found = sets.FirstOrDefault(set => TunCalls.SetOffloads(_queues[0].Number, BitsOf(set)) == Errno.None);
        _ = TunCalls.SetOffloads(_queues[0].Number, 0);
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

    private sealed class Source(OwnedFd queue, IReactor reactor, Action onReady) : INetSource
    {
        private readonly ReadableWatch _watch = new(queue, reactor, onReady);

        public bool IsReady => _watch.IsReady;

        public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
        {
            Errno errno = VectorCalls.Read(queue.Number, vectors, out length);
            if (errno == Errno.Interrupted) errno = VectorCalls.Read(queue.Number, vectors, out length);
            if (errno != Errno.None) _watch.FoundEmpty();
            return errno;
        }

        public void Dispose() => _watch.Dispose();
    }

    private sealed class Sink(OwnedFd queue, IReactor reactor, Action onReady) : INetSink
    {
        private readonly WritableWatch _watch = new(queue, reactor, onReady);

        public Errno Send(ReadOnlySpan<IoVector> vectors)
        {
            Errno errno = VectorCalls.Write(queue.Number, vectors, out _);
            if (errno is Errno.Again or Errno.Interrupted)
            {
                _watch.Await();
                return Errno.Again;
            }
            return errno;
        }

        public void Dispose() => _watch.Dispose();
    }
}
