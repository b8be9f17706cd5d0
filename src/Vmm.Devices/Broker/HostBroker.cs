using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;

namespace Vmm.Devices.Sandbox;

/// <summary>
/// A small process beside one in a sandbox. It takes the operator's connections to the control API, reads what each request names, and
/// hands the connection on; of what was named, and of nothing else, it opens for the other process what that asks for. That process is
/// not trusted: what it sends is checked, and a request that no process of ours makes ends both.
/// </summary>
internal sealed class HostBroker : IDisposable
{
    /// <summary>Things that may be named, connections that are read at a time, and bytes of a request.</summary>
    private const int GrantsMax = 65_536, VisitorsMax = 64, RequestBytesMax = 80 * 1024;

    private const int VisitorStackBytes = 256 * 1024, RefusalsSaid = 10, VisitorsBetweenCollections = 8;

    private const int RequestPatienceMs = 5_000, StartPatienceMs = 60_000, AnotherPatienceMs = 1_000, PieceMs = 1;

    private const int AccessMode = 3;

    /// <summary>What any file may be opened with; O_NOFOLLOW and O_DIRECTORY are the numbers.</summary>
    private const uint Harmless = FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK | FileCalls.O_DIRECT | FileCalls.O_EXCL
        | FileCalls.O_APPEND | 0x20000 | 0x10000 | FileCalls.O_PATH;

    private const uint OwnersOwn = 0x180;

    private readonly UnixSocket _asked, _brings;
    private readonly LocalListener _listener;
    private readonly Func<ReadOnlyMemory<byte>, IReadOnlyList<HostAccess>?> _read;
    private readonly Action<string> _say;
    private readonly Lock _lock = new();
    private readonly HashSet<HostAccess> _grants = [];
    private readonly Queue<HostAccess> _grantsByAge = new();
    private readonly Dictionary<string, UnixSocket> _listening = [];
    private readonly Dictionary<string, SnapshotDirectory> _saves = [];
    private Thread? _taking;
    private volatile bool _hasEnded;
    private readonly ConcurrentBag<byte[]> _buffers = [];
    private int _visitors, _refusals, _received;

    /// <summary>Listens for the operator, in the place of the process that is served.</summary>
    /// <param name="channels">This end of <see cref="MakeChannels"/>, which it takes over.</param>
    /// <param name="path">Where the control API listens.</param>
    /// <param name="read">
    /// Given the first bytes of a connection, says what they name: null if the request is not whole yet. Called on threads of its own.
    /// </param>
    /// <param name="say">Gets a line for what is wrong.</param>
    /// <exception cref="IOException">It cannot listen there.</exception>
    internal HostBroker(BrokerChannels channels, string path,
        Func<ReadOnlyMemory<byte>, IReadOnlyList<HostAccess>?> read, Action<string> say)
    {
        (_asked, _brings, _read, _say) = (new UnixSocket(channels.Requests), new UnixSocket(channels.Connections), read, say);
        _listener = ListenAfterAnother(path);
    }

    /// <summary>The broker of a process that was killed ends a moment after it.</summary>
    private static LocalListener ListenAfterAnother(string path)
    {
        for (long start = Environment.TickCount64; ; Thread.Sleep(PieceMs))
        {
            try
            {
                return new LocalListener(path);
            }
            catch (KernelException refused) when (refused.Errno == Errno.AddressInUse
                && Environment.TickCount64 - start < AnotherPatienceMs)
            {
            }
        }
    }

    /// <summary>Makes this process one that can do no more than open what its user may.</summary>
    /// <param name="user">Whom it becomes, as <see cref="SandboxPlan.User"/>; null to stay who it is.</param>
    /// <exception cref="ArgumentException">There is no such user.</exception>
    /// <exception cref="KernelException">This process may not become another.</exception>
    internal static void GiveUpRights(string? user)
    {
        SandboxPlan plan = new() { Accesses = [], User = user };
        Privileges.BecomeUser(plan);
        Privileges.Limit(plan);
        _ = SandboxCalls.SetNoNewPrivileges();
        SandboxCalls.SetDumpable(false);
    }

    /// <summary>
    /// Starts the program that is to be one, with the rights of this process, which may start no thread before its own sandbox.
    /// </summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="environment">Its environment.</param>
    /// <exception cref="KernelException">It cannot be started.</exception>
    internal static void StartProcess(string path, IEnumerable<string> arguments, IEnumerable<KeyValuePair<string, string>> environment)
    {
        Errno error = SandboxCalls.Start(path, [path, .. arguments], environment.Select(each => $"{each.Key}={each.Value}"));
        if (error != Errno.None) throw new KernelException($"cannot start '{path}'", error);
    }

    /// <summary>Two pairs of sockets between a process and its broker.</summary>
    /// <param name="ofProcess">The process's ends.</param>
    /// <returns>The broker's ends.</returns>
    /// <exception cref="KernelException">This process has no descriptor left.</exception>
    internal static BrokerChannels MakeChannels(out BrokerChannels ofProcess)
    {
        (int ask, int asked) = SocketCalls.Pair(SocketCalls.SOCK_SEQPACKET);
        (int take, int bring) = SocketCalls.Pair(SocketCalls.SOCK_SEQPACKET);
        ofProcess = new BrokerChannels(ask, take);
        return new BrokerChannels(asked, bring);
    }

    /// <summary>Whether this process has a broker, which listens for its control API.</summary>
    internal static bool IsThere => BrokerLink.Current is not null;

    /// <summary>In a process with a broker: waits for it to listen.</summary>
    /// <exception cref="IOException">It has ended.</exception>
    internal static void WaitUntilItListens()
    {
        using ReceivedFds none = new();
        Span<byte> sign = stackalloc byte[1];
        UnixSocket visitors = BrokerLink.Current!.Visitors;
        if (!visitors.WaitReadable(StartPatienceMs) || visitors.Receive(sign, none).Bytes != 1)
            throw new IOException("the broker, which listens for the control API, has ended");
    }

    /// <summary>In a process with a broker: waits for the next connection to the control API.</summary>
    /// <returns>It is the caller's; null if the broker has ended.</returns>
    internal static OwnedFd? TakeVisitor()
    {
        using ReceivedFds received = new();
        Span<byte> sign = stackalloc byte[1];
        UnixSocket visitors = BrokerLink.Current!.Visitors;
        visitors.WaitReadable(-1);
        return visitors.Receive(sign, received).Bytes == 1 && received.Count == 1 ? new OwnedFd(received.Take(0)) : null;
    }

    /// <summary>In a process with a broker: has it end, and waits until the paths of its sockets are removed.</summary>
    internal static void End() => BrokerLink.Current?.End();

    /// <summary>Serves until the other process has ended.</summary>
    /// <exception cref="IOException">The other process asked for what none of ours asks for.</exception>
    internal void Serve()
    {
        _ = _brings.Send([0], [], out _);
        _taking = new Thread(TakeVisitors, VisitorStackBytes) { IsBackground = true, Name = "visitors" };
        _taking.Start();
        byte[] message = new byte[BrokerRequest.BytesMax + 1];
        byte[] answer = new byte[BrokerRequest.AnswerBytes];
        using ReceivedFds received = new();
        while (true)
        {
            _asked.WaitReadable(-1);
            Reception reception = _asked.Receive(message, received);
            if (reception is { Bytes: 0, Errno: Errno.Again }) continue;
            if (reception.Bytes == 0) return;
            if (received.Count > 0 || !BrokerRequest.TryRead(message.AsSpan(0, reception.Bytes), out BrokerRequest request))
                throw new IOException("the process that it serves asked for what no such process asks for: it may be another's by now");
            using OwnedFd? opened = Do(request, out Errno errno);
            BinaryPrimitives.WriteInt32LittleEndian(answer, (int)errno);
            if (_asked.Send(answer, opened is null ? [] : [opened.Number], out Errno cannot) != answer.Length)
                throw new IOException($"the process that it serves does not take its answers: {KernelException.Describe(cannot)}");
        }
    }

    /// <summary>Removes the paths of its sockets.</summary>
    public void Dispose()
    {
        _hasEnded = true;
        // A wait for the next connection ends with it.
        ((UnixSocket)_listener.Socket).Shutdown(sending: false);
        _taking?.Join();
        _listener.Dispose();
        lock (_lock)
        {
            foreach (UnixSocket socket in _listening.Values) Forget(socket);
            _listening.Clear();
        }
        foreach (SnapshotDirectory save in _saves.Values) save.Dispose();
        _asked.Dispose();
        _brings.Dispose();
    }

    /// <summary>Lets the process have what the operator named. Of more than may be kept, what was named first is forgotten.</summary>
    internal void Grant(IEnumerable<HostAccess> named)
    {
        lock (_lock)
        {
            foreach (HostAccess access in named)
            {
                HostAccess granted = access.Kind == HostAccessKind.Tap || access.Path.Length == 0 ? access
                    : access with { Path = Path.GetFullPath(access.Path) };
                if (!_grants.Add(granted)) continue;
                _grantsByAge.Enqueue(granted);
                if (_grants.Count > GrantsMax) _grants.Remove(_grantsByAge.Dequeue());
            }
        }
    }

    /// <summary>Does what was asked for, if the operator has named it.</summary>
    internal OwnedFd? Do(BrokerRequest request, out Errno errno)
    {
        errno = Errno.AccessDenied;
        try
        {
            return request.Call switch
            {
                BrokerCall.Open => Open(request, out errno),
                BrokerCall.Tap when Has(HostAccessKind.Tap, request.Path) => Attach(request, out errno),
                BrokerCall.Connect when MayConnect(request.Path) => Connect(request, out errno),
                BrokerCall.Listen when Has(HostAccessKind.Listen, request.Path) => Listen(request, out errno),
                BrokerCall.Remove => Remove(request.Path, out errno),
                BrokerCall.Save when Has(HostAccessKind.Save, request.Path) => BeginSave(request.Path, out errno),
                BrokerCall.Commit or BrokerCall.Abandon => EndSave(request, out errno),
                _ => Refuse(request),
            };
        }
        catch (IOException refused)
        {
            errno = refused.HResult is > 0 and < 4096 ? (Errno)refused.HResult : Errno.InputOutput;
            return null;
        }
    }

    private OwnedFd? BeginSave(string path, out Errno errno)
    {
        SnapshotDirectory save = SnapshotDirectory.Begin(path);
        _saves[path] = save;
        errno = Errno.None;
        return save.Opened.Duplicate();
    }

    private OwnedFd? EndSave(BrokerRequest request, out Errno errno)
    {
        errno = Errno.NoEntry;
        if (!_saves.Remove(request.Path, out SnapshotDirectory? save)) return null;
        errno = Errno.None;
        using (save)
        {
            if (request.Call == BrokerCall.Commit) save.Commit();
        }
        return null;
    }

    private OwnedFd? Open(BrokerRequest request, out Errno errno)
    {
        errno = Errno.AccessDenied;
        uint flags = request.First, mode = flags & AccessMode, more = flags & ~(AccessMode | Harmless);
        bool reads = Has(HostAccessKind.Read, request.Path) || Path.GetDirectoryName(request.Path) is { } directory
            && Has(HostAccessKind.Read, directory);
        bool writes = Has(HostAccessKind.Write, request.Path);
        bool appends = Has(HostAccessKind.Append, request.Path), saves = _saves.Values.Any(save => save.Takes(request.Path));
        uint allowed = (appends || saves ? FileCalls.O_CREAT : 0u) | (writes ? FileCalls.O_TMPFILE : 0u);
        bool isGranted = (more & ~allowed) == 0 && mode switch
        {
            FileCalls.O_RDONLY => reads || writes || appends && (flags & FileCalls.O_PATH) != 0,
            FileCalls.O_WRONLY => writes || appends,
            FileCalls.O_RDWR => writes || saves,
            _ => false,
        };
        return isGranted ? Owned(FileCalls.Open(request.Path, (int)flags | FileCalls.O_CLOEXEC, OwnersOwn), out errno) : Refuse(request);
    }

    private static OwnedFd? Attach(BrokerRequest request, out Errno errno)
    {
        const uint allowed = (uint)(TunCalls.IFF_TAP | TunCalls.IFF_NO_PI | TunCalls.IFF_VNET_HDR | TunCalls.IFF_MULTI_QUEUE);
        errno = Errno.AccessDenied;
        return (request.First & ~allowed) != 0 ? null
            : TunCalls.TryOpenQueue(request.Path, (short)request.First, isThere: request.Option == 1, out errno);
    }

    private static UnixSocket? Connect(BrokerRequest request, out Errno errno)
    {
        UnixSocket? socket = UnixEndpoint.TryConnect(request.Path, isSeqPacket: request.Option == 1, out errno);
        if (socket is null || !socket.IsOfStranger(request.Path, out _)) return socket;
        socket.Dispose();
        errno = Errno.AccessDenied;
        return null;
    }

    /// <summary>The path stays this process's to remove, so the socket does too, until that is asked for.</summary>
    private UnixSocket Listen(BrokerRequest request, out Errno errno)
    {
        uint? group = request.Option == 1 ? request.Second : null;
        UnixSocket socket = UnixEndpoint.ListenAnew(request.Path, (UnixFileMode)(request.First & 0x1ff), group: group);
        UnixSocket given = socket.DuplicateSocket();
        lock (_lock) _listening[request.Path] = socket;
        errno = Errno.None;
        return given;
    }

    private OwnedFd? Remove(string path, out Errno errno)
    {
        lock (_lock)
        {
            errno = _listening.Remove(path, out UnixSocket? socket) ? Errno.None : Errno.NoEntry;
            if (socket is not null) Forget(socket);
        }
        return null;
    }

    private static void Forget(UnixSocket socket)
    {
        socket.RemovePath();
        socket.Dispose();
    }

    private bool Has(HostAccessKind kind, string path)
    {
        lock (_lock) return _grants.Contains(new HostAccess(kind, path));
    }

    /// <summary>A guest of vsock names a port, whose socket has the device's path, '_', and its number.</summary>
    private bool MayConnect(string path)
    {
        if (Has(HostAccessKind.Connect, path)) return true;
        int end = path.LastIndexOf('_');
        return end > 0 && uint.TryParse(path.AsSpan(end + 1), NumberStyles.None, CultureInfo.InvariantCulture, out _)
            && Has(HostAccessKind.Connect, path[..end]);
    }

    private OwnedFd? Refuse(BrokerRequest request)
    {
        if (Interlocked.Increment(ref _refusals) <= RefusalsSaid)
            _say($"the broker does not {request.Call.ToString().ToLowerInvariant()} '{request.Path}': no request to the API named it");
        return null;
    }

    private static OwnedFd? Owned(int fd, out Errno errno)
    {
        errno = CallResult.Of(fd);
        return CallResult.Descriptor(fd);
    }

    private void TakeVisitors()
    {
        UnixSocket listening = (UnixSocket)_listener.Socket;
        while (!_hasEnded)
        {
            listening.WaitReadable(-1);
            UnixSocket? visitor = listening.Accept(out Errno errno);
            if (visitor is null)
            {
                // Without descriptors no one is let in: it waits for one that ends.
                if (errno != Errno.Again) Thread.Sleep(PieceMs);
                continue;
            }
            if (Interlocked.Increment(ref _visitors) <= VisitorsMax && UnixSocket.IsPeerTrusted(visitor.Number))
            {
                new Thread(() => Receive(visitor), VisitorStackBytes) { IsBackground = true, Name = "visitor" }.Start();
                continue;
            }
            Interlocked.Decrement(ref _visitors);
            visitor.Dispose();
        }
    }

    /// <summary>Reads the request of a connection, which stays in it, and hands the connection on.</summary>
    private void Receive(UnixSocket visitor)
    {
        if (!_buffers.TryTake(out byte[]? buffer)) buffer = new byte[RequestBytesMax];
        try
        {
            using (visitor)
            {
                byte[] request = buffer;
                long start = Environment.TickCount64;
                while (true)
                {
                    long left = RequestPatienceMs - (Environment.TickCount64 - start);
                    if (left <= 0 || !visitor.WaitReadable((int)left)) return;
                    Errno errno = visitor.Peek(request, out uint count);
                    if (errno is not (Errno.None or Errno.Again) || count == 0 && errno == Errno.None) return;
                    IReadOnlyList<HostAccess>? named = _read(request.AsMemory(0, (int)count));
                    if (named is null && count == request.Length) named = [];
                    if (named is not null)
                    {
                        Grant(named);
                        _ = _brings.Send([1], [visitor.Number], out _);
                        return;
                    }
                    // The rest has not arrived yet; what is there already would end a wait.
                    Thread.Sleep(PieceMs);
                }
            }
        }
        finally
        {
            _buffers.Add(buffer);
            Interlocked.Decrement(ref _visitors);
            // Nothing waits for this process now, and it is to stay small.
            if (Interlocked.Increment(ref _received) % VisitorsBetweenCollections == 0)
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }
    }
}
