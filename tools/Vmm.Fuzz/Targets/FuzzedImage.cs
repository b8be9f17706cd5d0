using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// A real image behind an engine that keeps operations to itself until it is asked to end them, fails them at times, and looks whether each
/// stays inside of the disk and of guest memory.
/// </summary>
internal sealed class FuzzedImage : IBlockBackend
{
    private readonly string _path = Scratch.NextPath();
    private readonly RawImage _image;
    private readonly List<Engine> _engines = [];
    private Errno _failure;
    private bool _keeps;

    internal FuzzedImage(int bytes, BlockEngineKind engine)
    {
        using (FileStream file = File.Create(_path)) file.SetLength(bytes);
        _image = RawImage.Open(_path, engine: engine);
        // Open it stays; what is not there can't be left behind.
        File.Delete(_path);
    }

    public string Description => _image.Description;

    public ulong CapacityBytes => _image.CapacityBytes;

    public bool IsReadOnly => false;

    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted)
    {
        Engine engine = new(this, _image.CreateEngine(reactor, onCompleted), onCompleted);
        _engines.Add(engine);
        return engine;
    }

    /// <summary>What the host may do: keep operations, let some go, fail.</summary>
    internal void Act(FuzzInput input)
    {
        switch (input.Next(4))
        {
            case 0: _keeps = true; return;
            case 1: Finish(); return;
            case 2: _failure = input.Pick<Errno>([Errno.None, Errno.InputOutput, Errno.NoSpace]); return;
            default:
                foreach (Engine engine in _engines.ToArray()) engine.LetGo(input.Next(4), newestFirst: input.OneIn(2));
                return;
        }
    }

    /// <summary>Everything that was kept is done, and the disk is a sound one again.</summary>
    internal void Finish()
    {
        _keeps = false;
        _failure = Errno.None;
        foreach (Engine engine in _engines.ToArray()) engine.LetGo(int.MaxValue, newestFirst: false);
    }

    public void Dispose() => _image.Dispose();

    private void Check(BlockOperation operation)
    {
        BrokenPromiseException.Unless(
            operation.Remaining <= CapacityBytes && operation.Offset <= CapacityBytes - operation.Remaining,
            $"{operation.Kind} of {operation.Remaining} bytes at {operation.Offset}: the disk has {CapacityBytes}");
        foreach (BlockSegment segment in operation.Segments)
        {
            BrokenPromiseException.Unless(
                segment.Length <= CapacityBytes
                    && segment.Offset <= CapacityBytes - segment.Length, $"{operation.Kind} of {segment}: the disk has {CapacityBytes}");
        }
        ulong total = 0;
        MemoryMap map = operation.Chain!.Hold!.Map;
        foreach (IoVector vector in operation.Vectors)
        {
            total += vector.Length;
            BrokenPromiseException.Unless(IsInside(map, vector), $"{operation.Kind} leaves guest memory");
        }
        BrokenPromiseException.Unless(total == operation.Remaining,
            $"{operation.Kind} of {operation.Remaining} bytes in buffers of {total}");
    }

    private static bool IsInside(MemoryMap map, IoVector vector)
    {
        foreach (GuestRegion region in map.Regions)
        {
            ulong offset = (ulong)vector.Address - (ulong)region.HostAddress;
            if (offset < region.Length && vector.Length <= region.Length - offset) return true;
        }
        return false;
    }

    private sealed class Engine(FuzzedImage image, IBlockEngine inner, Action onCompleted) : IBlockEngine
    {
        private readonly List<BlockOperation> _kept = [];

        public void Start(BlockOperation operation)
        {
            image.Check(operation);
            if (image._keeps) _kept.Add(operation);
            else Go(operation);
        }

        public void Submit() => inner.Submit();

        public void Dispose()
        {
            BrokenPromiseException.Unless(_kept.Count == 0, "an engine was closed with operations in flight");
            image._engines.Remove(this);
            inner.Dispose();
        }

        internal void LetGo(int count, bool newestFirst)
        {
            if (_kept.Count == 0) return;
            for (; count > 0 && _kept.Count > 0; count--)
            {
                int which = newestFirst ? _kept.Count - 1 : 0;
                BlockOperation operation = _kept[which];
                _kept.RemoveAt(which);
                Go(operation);
            }
            inner.Submit();
            onCompleted();
        }

        private void Go(BlockOperation operation)
        {
            if (image._failure == Errno.None) inner.Start(operation);
            else operation.Complete(image._failure);
        }
    }
}
