using System.Runtime.CompilerServices;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>Operations in their raw form: on requests and memory that the caller owns.</summary>
public sealed partial class IoRing
{
    private const uint WriteDurably = 2; // RWF_DSYNC
    private const uint DontCache = 0x80; // RWF_DONTCACHE
    private const uint FsyncDataOnly = 1; // IORING_FSYNC_DATASYNC
    private const uint PollBits = 0x2007; // POLLIN, POLLPRI, POLLOUT, POLLRDHUP

    /// <summary>Reads into pieces of memory (preadv(2)). The list and the memory stay as they are until the request completes.</summary>
    /// <param name="request">
    /// Completes with the bytes read; fewer than asked for at the end of the file, and now and then before it.
    /// </param>
    /// <param name="file">Where from.</param>
    /// <param name="offset">Byte position in the file.</param>
    /// <param name="vectors">Where to, 1 piece or more.</param>
    /// <param name="dontCache">Leave nothing in the page cache that was not there before (RWF_DONTCACHE).</param>
    /// <exception cref="InvalidOperationException">The request is in flight, or this is not the reactor's thread.</exception>
    /// <exception cref="ObjectDisposedException">The file or the ring is disposed.</exception>
    public void ReadV(RingRequest request, RingFile file, ulong offset, IoVectors vectors, bool dontCache = false) =>
        BeginVectored(request, file, offset, vectors, IoUringOp.ReadV, dontCache ? DontCache : 0);

    /// <summary>Writes pieces of memory (pwritev(2)). The list and the memory stay as they are until the request completes.</summary>
    /// <param name="request">Completes with the bytes written; fewer than asked for when the disk is full.</param>
    /// <param name="file">Where to.</param>
    /// <param name="offset">Byte position in the file.</param>
    /// <param name="vectors">Where from, 1 piece or more.</param>
    /// <param name="durable">Complete only when the data has reached the disk (RWF_DSYNC).</param>
    /// <param name="dontCache">Leave nothing in the page cache that was not there before (RWF_DONTCACHE).</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool)" path="/exception"/>
    public void WriteV(RingRequest request, RingFile file, ulong offset, IoVectors vectors, bool durable = false, bool dontCache = false) =>
        BeginVectored(request, file, offset, vectors, IoUringOp.WriteV, (durable ? WriteDurably : 0) | (dontCache ? DontCache : 0));

    /// <summary>Has what was written reach the disk (fsync(2), fdatasync(2)). Only writes that completed before are covered.</summary>
    /// <param name="request">Completes with 0.</param>
    /// <param name="file">Which file.</param>
    /// <param name="dataOnly">Leave out metadata that no later read needs.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool)" path="/exception"/>
    public void Fsync(RingRequest request, RingFile file, bool dataOnly)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = new IoUringEntry { Op = IoUringOp.Fsync, OpFlags = dataOnly ? FsyncDataOnly : 0 };
        BeginChecked(request, file);
    }

    /// <summary>Allocates, punches or zeroes a range of a file (fallocate(2)).</summary>
    /// <param name="request">Completes with 0.</param>
    /// <param name="file">Which file.</param>
    /// <param name="mode">What to do with the range.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes, 1 or more.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool)" path="/exception"/>
    public void Fallocate(RingRequest request, RingFile file, FallocateMode mode, ulong offset, ulong length)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = new IoUringEntry { Op = IoUringOp.Fallocate, Offset = offset, Address = length, Length = (uint)mode };
        BeginChecked(request, file);
    }

    private void BeginVectored(RingRequest request, RingFile file, ulong offset, IoVectors vectors, IoUringOp operation, uint flags)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = Vectored(offset, vectors, operation, flags);
        BeginChecked(request, file);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static IoUringEntry Vectored(ulong offset, IoVectors vectors, IoUringOp operation, uint flags)
    {
        ArgumentNullException.ThrowIfNull(vectors);
        ArgumentOutOfRangeException.ThrowIfZero(vectors.Count, nameof(vectors));
        // One piece needs no list: the kernel is spared the copy of it.
        bool isOne = vectors.Count == 1;
        return new IoUringEntry
        {
            Op = !isOne ? operation : operation == IoUringOp.ReadV ? IoUringOp.Read : IoUringOp.Write,
            Offset = offset,
            Address = (ulong)(isOne ? vectors.First.Address : vectors.Address),
            Length = isOne ? (uint)vectors.First.Length : (uint)vectors.Count,
            OpFlags = flags,
        };
    }
}
