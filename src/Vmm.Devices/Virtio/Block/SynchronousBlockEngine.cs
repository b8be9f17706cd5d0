using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Runs each operation to its end when it is started, straight between the file and guest memory: right for images in the page cache, and
/// where the kernel has no io_uring. Zeroes that have to be written are written in later turns, so that neighbours have theirs.
/// </summary>
internal sealed class SynchronousBlockEngine : IBlockEngine
{
    private readonly RawImage _image;
    private readonly Action _onCompleted;
    private readonly IReactor _reactor;
    private Subscription<EventFd>? _later;
    private readonly Queue<BlockCalls> _zeroing = new();
    private BlockCalls _calls;

    internal SynchronousBlockEngine(RawImage image, IReactor reactor, Action onCompleted)
    {
        _image = image;
        _onCompleted = onCompleted;
        _calls = new BlockCalls(image.ZeroBlockBytes);
        _reactor = reactor;
    }

    public void Start(BlockOperation operation)
    {
        _calls.Begin(operation);
        if (Run(_calls)) return;
        _zeroing.Enqueue(_calls);
        _calls = new BlockCalls(_image.ZeroBlockBytes);
        _later ??= Interest.Kick.WithFd(new EventFd()).WithHandler(_ => GoOn()).RegisterInto(_reactor);
        _later.Fd.Signal();
    }

    public void Submit()
    {
    }

    public void Dispose()
    {
        if (_later is not null) _reactor.Remove(_later);
    }

    private void GoOn()
    {
        if (!_zeroing.TryPeek(out BlockCalls? calls)) return;
        calls.Ended(Make(calls));
        if (Run(calls))
        {
            _zeroing.Dequeue();
            _onCompleted();
        }
        if (_zeroing.Count > 0) _later!.Fd.Signal();
    }

    /// <summary>Makes calls until the operation is over, or zeroes are to be written.</summary>
    /// <returns>Whether it is over.</returns>
    private bool Run(BlockCalls calls)
    {
        while (calls.Call is not (BlockCall.None or BlockCall.WriteZeroes)) calls.Ended(Make(calls));
        if (calls.Call != BlockCall.None) return false;
        BlockOperation operation = calls.Operation!;
        calls.Release();
        operation.Complete(calls.Error);
        return true;
    }

    private long Make(BlockCalls calls)
    {
        BlockOperation operation = calls.Operation!;
        Errno error;
        switch (calls.Call)
        {
            case BlockCall.Read:
                nint read = FileCalls.Read(FileFor(operation), Some(operation.Vectors), (long)operation.Offset, _image.DropsBehind
                    ? FileCalls.RWF_DONTCACHE : 0, out error);
                return read < 0 ? -(long)error : read;
            case BlockCall.Write:
                int flags = (operation.IsDurable ? FileCalls.RWF_DSYNC : 0) | (_image.DropsBehind ? FileCalls.RWF_DONTCACHE : 0);
                nint written = FileCalls.Write(FileFor(operation), Some(operation.Vectors), (long)operation.Offset, flags, out error);
                return written < 0 ? -(long)error : written;
            case BlockCall.WriteZeroes:
                nint zeroed = FileCalls.Write(_image.CachedNumber, BlockZeroes.Some(calls.Length), (long)calls.Offset, out error);
                return zeroed < 0 ? -(long)error : zeroed;
            case BlockCall.Allocate:
                return -(long)FileCalls.Allocate(_image.CachedNumber, (int)calls.Mode, calls.Offset, calls.Length);
            default:
                return -(long)FileCalls.Flush(_image.Number);
        }
    }

    /// <summary>What O_DIRECT does not take as it is goes through the page cache, which the kernel keeps the same as the disk.</summary>
    private int FileFor(BlockOperation operation) =>
        _image.Alignment is { } alignment && !alignment.Fits(operation) ? _image.CachedNumber : _image.Number;

    private static ReadOnlySpan<IoVector> Some(ReadOnlySpan<IoVector> vectors) =>
        vectors.Length <= FileCalls.VectorsMax ? vectors : vectors[..FileCalls.VectorsMax];
}
