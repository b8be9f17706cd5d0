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
        if (options.Queues > _frontend.QueuesMax) throw new IOException($"'{socket}' has {_frontend.QueuesMax} queues, {options.Queues} were asked for");
        long blocks = BinaryPrimitives.ReadInt64LittleEndian(_frontend.GetConfig(0, sizeof(long))) * SectorBytes / options.Bytes;
        long share = blocks / options.Queues;
        if (options.Verify) share = Math.Min(share, VerifiedBlocksMax);
        if (share < options.Depth * 2) throw new IOException($"the disk at '{socket}' is too small for {options.Queues} × {options.Depth} requests of {options.Bytes} bytes");

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
    internal IReadOnlyList<double> Shares => [.. _operationsOfQueue.Select(operations => _operations == 0 ? 0 : (double)operations / _operations)];

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

    /// <summary>Loads the back-end for a while.</summary>
    internal async Task RunSliceAsync(TimeSpan length)
    {
        TimeSpan cpuBefore = BackendCpu();
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        foreach (BlockLoadQueue queue in _queues) queue.Start();
        await Task.Delay(length);
        TimeSpan elapsed = System.Diagnostics.Stopwatch.GetElapsedTime(start);
        TimeSpan cpu = BackendCpu() - cpuBefore;
        for (int i = 0; i < _queues.Length; i++)
        {
            long operations = await _queues[i].StopAsync();
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

    /// <summary>What the back-end's threads ran, to the nanosecond (proc(5), schedstat).</summary>
    private TimeSpan BackendCpu()
    {
        long nanoseconds = 0;
        foreach (string task in Directory.EnumerateDirectories($"/proc/{_frontend.BackendProcessId}/task"))
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
