using Microsoft.Win32.SafeHandles;
using Vmm.Events;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Benchmarks;

/// <summary>How long a run is at least.</summary>
internal static class RingRun
{
    /// <summary>The last reads of a run have fewer beside them than the depth says: that must not be most of it.</summary>
    internal static int Quantum(int depth) => 32 * depth;
}

/// <summary>Raw requests, as a device makes them.</summary>
internal sealed class RawRing : IContender
{
    private readonly Reactor _reactor = new();
    private readonly SlabPool _pool = new();
    private readonly IoRing _ring;
    private readonly OwnedFd _fd;
    private readonly RingFile _file;
    private readonly Request[] _requests;
    private BlockOrder _order = new();
    private long _toBegin;
    private long _toEnd;

    internal RawRing(BlockFile file, int depth, RingEngine engine = RingEngine.Kernel)
    {
        _ring = new IoRing(_reactor, new RingOptions { Engine = engine });
        _fd = file.Open();
        _file = _ring.Register(_fd);
        _requests = [.. Enumerable.Range(0, depth).Select(_ => new Request(this, _pool.Rent(BlockFile.BlockBytes)))];
    }

    public int Quantum => RingRun.Quantum(_requests.Length);

    public void Run(long operations)
    {
        _toBegin = _toEnd = operations;
        foreach (Request request in _requests) request.Begin();
        while (_toEnd > 0) _reactor.RunOnce(Timeout.InfiniteTimeSpan);
    }

    public void Dispose()
    {
        _file.Dispose();
        _fd.Dispose();
        _reactor.Dispose();
        foreach (Request request in _requests) request.Buffer.Release();
        _pool.Dispose();
    }

    private sealed class Request : RingRequest
    {
        private readonly RawRing _owner;
        private readonly IoVectors _vectors = new(1);

        internal Request(RawRing owner, SlabBuffer buffer)
        {
            _owner = owner;
            Buffer = buffer;
            _vectors.Add(buffer.Block.Address, BlockFile.BlockBytes);
        }

        internal SlabBuffer Buffer { get; }

        internal void Begin()
        {
            if (_owner._toBegin-- <= 0) return;
            _owner._ring.ReadV(this, _owner._file, _owner._order.NextOffset(), _vectors);
        }

        protected internal override void Complete(int result)
        {
            if (result != BlockFile.BlockBytes) throw new InvalidOperationException($"a read gave {result}");
            _owner._toEnd--;
            Begin();
        }
    }
}

/// <summary>Tasks that await one read after the other into registered buffers.</summary>
internal sealed class AwaitedRing : IContender
{
    private readonly Reactor _reactor = new();
    private readonly SlabPool _pool = new();
    private readonly ReactorTasks _tasks;
    private readonly IoRing _ring;
    private readonly OwnedFd _fd;
    private readonly RingFile _file;
    private readonly int _depth;
    private BlockOrder _order = new();
    private long _toBegin;
    private int _running;

    internal AwaitedRing(BlockFile file, int depth)
    {
        _depth = depth;
        _ring = new IoRing(_reactor);
        _ring.RegisterBuffers(_pool);
        _tasks = ReactorTasks.Of(_reactor);
        _fd = file.Open();
        _file = _ring.Register(_fd);
    }

    public int Quantum => RingRun.Quantum(_depth);

    public void Run(long operations)
    {
        _toBegin = operations;
        _running = _depth;
        for (int i = 0; i < _depth; i++) _tasks.Spawn(static self => self.ReadOn(), this).Detach();
        while (_running > 0) _reactor.RunOnce(Timeout.InfiniteTimeSpan);
    }

    public void Dispose()
    {
        _file.Dispose();
        _fd.Dispose();
        _reactor.Dispose();
        _pool.Dispose();
    }

    private async ReactorTask ReadOn()
    {
        SlabBuffer buffer = _pool.Rent(BlockFile.BlockBytes);
        while (_toBegin-- > 0)
        {
            BufferResult read = await _ring.Read(_file, buffer, _order.NextOffset());
            if (!read.IsComplete) throw new InvalidOperationException($"a read gave {read.Result}");
            buffer = read.Buffer;
            buffer.Clear();
        }
        buffer.Release();
        _running--;
    }
}

/// <summary>What the runtime offers: RandomAccess.ReadAsync, which runs on the thread pool.</summary>
internal sealed class RandomAccessReads : IContender
{
    private readonly SafeFileHandle _file;
    private readonly byte[][] _buffers;
    private readonly ulong[] _seeds;
    private long _toBegin;

    internal RandomAccessReads(BlockFile file, int depth)
    {
        _file = File.OpenHandle(file.Path, options: FileOptions.Asynchronous);
        _buffers = [.. Enumerable.Range(0, depth).Select(_ => GC.AllocateArray<byte>(BlockFile.BlockBytes, pinned: true))];
        _seeds = [.. Enumerable.Range(1, depth).Select(i => (ulong)i * 7919)];
    }

    public int Quantum => RingRun.Quantum(_buffers.Length);

    public void Run(long operations)
    {
        _toBegin = operations;
        Task.WhenAll(Enumerable.Range(0, _buffers.Length).Select(ReadOnAsync)).GetAwaiter().GetResult();
    }

    public void Dispose() => _file.Dispose();

    private async Task ReadOnAsync(int index)
    {
        byte[] buffer = _buffers[index];
        ulong random = _seeds[index];
        while (Interlocked.Decrement(ref _toBegin) >= 0)
        {
            random = random * 6364136223846793005 + 1442695040888963407;
            ulong offset = (random >> 33) % BlockFile.Blocks * BlockFile.BlockBytes;
            int read = await RandomAccess.ReadAsync(_file, buffer, (long)offset).ConfigureAwait(false);
            if (read != BlockFile.BlockBytes) throw new InvalidOperationException($"a read gave {read}");
        }
        _seeds[index] = random;
    }
}
