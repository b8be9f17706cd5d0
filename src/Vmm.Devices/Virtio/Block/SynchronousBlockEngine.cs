using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Runs each operation to its end when it is started, straight between the file and guest memory: right for images in the page cache, and where
/// the kernel has no io_uring.
/// </summary>
internal sealed class SynchronousBlockEngine(RawImage image) : IBlockEngine
{
    private const int ZeroPageLength = 64 * 1024;
    private static readonly byte[] Zeroes = GC.AllocateArray<byte>(ZeroPageLength, pinned: true);

    public void Start(BlockOperation operation) => operation.Complete(operation.Kind switch
    {
        BlockOperationKind.Read => Read(operation),
        BlockOperationKind.Write => Write(operation),
        BlockOperationKind.Flush => FileCalls.Flush(image.Number),
        BlockOperationKind.Discard => Discard(operation),
        _ => WriteZeroes(operation),
    });

    public void Submit()
    {
    }

    public void Dispose()
    {
    }

    private Errno Read(BlockOperation operation)
    {
        while (operation.Remaining > 0)
        {
            nint done = FileCalls.Read(FileFor(operation), Some(operation.Vectors), (long)operation.Offset, 0, out Errno error);
            // The end of the file before the end of the disk: someone cut the image short behind our back.
            if (done == 0) return Errno.InputOutput;
            if (done < 0) return error;
            operation.Advance((ulong)done);
        }
        return Errno.None;
    }

    private Errno Write(BlockOperation operation)
    {
        int flags = operation.IsDurable ? FileCalls.RWF_DSYNC : 0;
        while (operation.Remaining > 0)
        {
            nint done = FileCalls.Write(FileFor(operation), Some(operation.Vectors), (long)operation.Offset, flags, out Errno error);
            if (done == 0) return Errno.InputOutput;
            if (done < 0) return error;
            operation.Advance((ulong)done);
        }
        return Errno.None;
    }

    private Errno Discard(BlockOperation operation)
    {
        foreach (BlockSegment segment in operation.Segments)
        {
            if (segment.Length == 0) continue;
            Errno error = FileCalls.Allocate(image.Number, FileCalls.FALLOC_FL_PUNCH_HOLE, segment.Offset, segment.Length);
            // A discard is an offer: a file system without holes does not take it, and nothing is lost.
            if (error is not (Errno.None or Errno.NotSupported)) return error;
        }
        return Errno.None;
    }

    private Errno WriteZeroes(BlockOperation operation)
    {
        foreach (BlockSegment segment in operation.Segments)
        {
            if (segment.Length == 0) continue;
            int mode = segment.MayUnmap ? FileCalls.FALLOC_FL_PUNCH_HOLE : FileCalls.FALLOC_FL_ZERO_RANGE;
            Errno error = FileCalls.Allocate(image.Number, mode, segment.Offset, segment.Length);
            if (error == Errno.NotSupported) error = WriteZeroes(segment);
            if (error != Errno.None) return error;
        }
        return Errno.None;
    }

    private Errno WriteZeroes(BlockSegment segment)
    {
        for (ulong done = 0; done < segment.Length;)
        {
            ReadOnlySpan<byte> piece = Zeroes.AsSpan(0, (int)Math.Min(ZeroPageLength, segment.Length - done));
            nint written = FileCalls.Write(image.CachedNumber, piece, (long)(segment.Offset + done), out Errno error);
            if (written == 0) return Errno.InputOutput;
            if (written < 0) return error;
            done += (ulong)written;
        }
        return Errno.None;
    }

    /// <summary>What O_DIRECT does not take as it is goes through the page cache, which the kernel keeps the same as the disk.</summary>
    private int FileFor(BlockOperation operation) =>
        image.Alignment is { } alignment && !alignment.Fits(operation) ? image.CachedNumber : image.Number;

    private static ReadOnlySpan<IoVector> Some(ReadOnlySpan<IoVector> vectors) =>
        vectors.Length <= FileCalls.VectorsMax ? vectors : vectors[..FileCalls.VectorsMax];
}
