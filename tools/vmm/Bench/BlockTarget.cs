using System.Buffers.Binary;
using System.Globalization;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Tool;

/// <summary>One back-end under load: its connection, its rings, what it did in the slices it was given.</summary>
internal sealed class BlockTarget : IDisposable
{
    private const int SectorBytes = BlockCursor.SectorBytes;
    private const int VerifiedBlocksMax = 1 << 22;
    // All of it, as a monitor reads it: the device then knows which cache mode the driver will see.
    private const int ConfigBytes = 60;
    /// <summary>VIRTIO_BLK_F_RO (virtio 1.2, § 5.2.3).</summary>
    private const ulong ReadOnly = 1UL << 5;

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(100);

    private readonly VhostUserFrontend _frontend;
    private readonly GuestMemory _memory;
    private readonly BlockLoadQueue[] _queues;
    private readonly long[] _operationsOfQueue;
    private TimeSpan _elapsed;
    private TimeSpan _cpu;
    private long _operations;

    /// <summary>Connects and sets the rings up; nothing is in flight yet.</summary>
    /// <exception cref="IOException">The back-end is not there, or not able.</exception>
    internal BlockTarget(string socket, BlockLoadOptions options)
    {
        Socket = socket;
        Options = options;
        _frontend = VhostUserFrontend.Connect(socket);
        _frontend.Negotiate(VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | DeviceBits);
        if (options.Queues > _frontend.QueuesMax)
            throw new IOException($"'{socket}' has {_frontend.QueuesMax} queues, {options.Queues} were asked for");
        if (options.Writes && (_frontend.Features & ReadOnly) != 0)
            throw new UsageException($"the disk at '{socket}' is read-only: give --rw randread or --rw read");
        long blocks = BinaryPrimitives.ReadInt64LittleEndian(_frontend.GetConfig(0, ConfigBytes)) * SectorBytes / options.Bytes;
        long share = blocks / options.Queues;
        if (options.Verify) share = Math.Min(share, VerifiedBlocksMax);
        if (share < options.Depth * 2) throw new IOException(
            $"the disk at '{socket}' is too small for {options.Queues} × {options.Depth} requests of {options.Bytes} bytes");

        ulong memoryBytes = MemoryFor(options);
        _memory = GuestMemory.Create(memoryBytes);
        GuestAllocator allocator = new(0, memoryBytes);
        _frontend.ShareMemory(_memory);
        _operationsOfQueue = new long[options.Queues];
        _queues = [.. Enumerable.Range(0, options.Queues).Select(i => new BlockLoadQueue(i, _frontend, _memory, allocator, options,
            new BlockCursor(options.Access, i * share, share, (ulong)i + 1), options.Verify ? new BlockPattern(i * share, share) : null))];
    }

    internal string Socket { get; }

    internal BlockLoadOptions Options { get; }

    internal long Errors => _queues.Sum(queue => queue.Errors);

    internal double OperationsPerSecond => _operations / _elapsed.TotalSeconds;

    internal double BytesPerSecond => OperationsPerSecond * Options.Bytes;

    /// <summary>Processor time of the back-end's whole process.</summary>
    internal TimeSpan CpuPerOperation => _operations == 0 ? TimeSpan.Zero : _cpu / _operations;

    /// <summary>Which part of the operations each ring had.</summary>
    internal IReadOnlyList<double> Shares =>
        [.. _operationsOfQueue.Select(operations => _operations == 0 ? 0 : (double)operations / _operations)];

    /// <summary>The times of all rings.</summary>
    internal LatencyHistogram Latency
    {
        get
        {
            LatencyHistogram all = new();
            foreach (BlockLoadQueue queue in _queues) all.Merge(queue.Latency);
            return all;
        }
    }

    /// <summary>Whether there is something to report.</summary>
    internal bool HasFigures => _operations > 0;

    /// <summary>Loads the back-end for a while.</summary>
    /// <param name="length">How long.</param>
    /// <param name="stop">Ends the slice early.</param>
    /// <exception cref="BackendEndedException">The back-end hung up.</exception>
    internal async Task RunSliceAsync(TimeSpan length, CancellationToken stop)
    {
        TimeSpan cpuBefore = BackendCpu();
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        foreach (BlockLoadQueue queue in _queues) queue.Start();
        while (System.Diagnostics.Stopwatch.GetElapsedTime(start) < length && !stop.IsCancellationRequested)
        {
            TimeSpan left = length - System.Diagnostics.Stopwatch.GetElapsedTime(start);
            await Task.Delay(left < BetweenLooks ? left : BetweenLooks, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            ThrowIfEnded();
        }
        TimeSpan elapsed = System.Diagnostics.Stopwatch.GetElapsedTime(start);
        TimeSpan cpu = BackendCpu() - cpuBefore;
        for (int i = 0; i < _queues.Length; i++)
        {
            Task<long> stopped = _queues[i].StopAsync();
            // What is in flight at a back-end that ends now is never answered.
            while (await Task.WhenAny(stopped, Task.Delay(BetweenLooks, CancellationToken.None)) != stopped) ThrowIfEnded();
            long operations = await stopped;
            _operationsOfQueue[i] += operations;
            _operations += operations;
        }
        _elapsed += elapsed;
        _cpu += cpu;
    }

    public void Dispose()
    {
        _frontend.Dispose();
        foreach (BlockLoadQueue queue in _queues) queue.Dispose();
        _memory.Dispose();
    }

    /// <summary>The bits that belong to block devices: those below the common ones.</summary>
    private static ulong DeviceBits => (1UL << VirtioFeatures.FirstCommonBit) - 1;

    private static ulong MemoryFor(BlockLoadOptions options)
    {
        const ulong PerRequest = 8192, PerQueue = 1 << 20, Step = 2 << 20;
        ulong data = System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)options.Bytes);
        ulong bytes = (ulong)options.Queues * (PerQueue + ((ulong)options.Depth * (data + PerRequest)));
        return (bytes + Step - 1) / Step * Step;
    }

    private void ThrowIfEnded()
    {
        if (!_frontend.IsConnected) throw new BackendEndedException(Socket);
    }

    /// <summary>What the back-end's threads ran, to the nanosecond (proc(5), schedstat).</summary>
    private TimeSpan BackendCpu()
    {
        long nanoseconds = 0;
        string tasks = $"/proc/{_frontend.BackendProcessId}/task";
        // Not there: it has ended, or runs in a namespace that is not visible from here.
        if (!Directory.Exists(tasks)) return TimeSpan.Zero;
        foreach (string task in Directory.GetDirectories(tasks))
        {
            try
            {
                string text = File.ReadAllText(Path.Combine(task, "schedstat"));
                nanoseconds += long.Parse(text.AsSpan(0, text.IndexOf(' ', StringComparison.Ordinal)), CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // A thread that ended meanwhile: what it ran is not seen, and was little.
            }
        }
        return TimeSpan.FromTicks(nanoseconds / TimeSpan.NanosecondsPerTick);
    }
}

/// <summary>A back-end hung up while it was loaded.</summary>
internal sealed class BackendEndedException(string socket)
    : IOException($"the back-end at '{socket}' hung up during the load: look at what it printed last");
