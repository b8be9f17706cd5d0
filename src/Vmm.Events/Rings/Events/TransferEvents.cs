using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>read(2), pread(2) or recv(2) behind the written bytes of a buffer.</summary>
internal readonly struct FillEvent(IoUringOp operation, LentBuffer buffer, int count, ulong offset, uint flags, int bufferIndex)
    : IBuiltInEvent<BufferResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) =>
        entry.Transfer(bufferIndex < 0 ? operation : IoUringOp.ReadFixed, buffer.RoomAddress, count, offset, flags, bufferIndex);

    public BufferResult Complete(int result) => new(new RingResult(result), buffer.Return(Math.Max(0, result)), count);

    public RingCancellation Cancel() => new() { Buffer = buffer };
}

/// <summary>write(2), pwrite(2) or send(2) of the written bytes of a buffer that stays mutable.</summary>
internal readonly struct DrainEvent(IoUringOp operation, LentBuffer buffer, ulong offset, uint flags, int bufferIndex)
    : IBuiltInEvent<BufferResult>
{
    public bool IsEager => false;

    private readonly int _count = buffer.Written;

    public void Prepare(ref IoUringEntry entry) =>
        entry.Transfer(bufferIndex < 0 ? operation : IoUringOp.WriteFixed, buffer.Address, _count, offset, flags, bufferIndex);

    public BufferResult Complete(int result) => new(new RingResult(result), buffer.Return(0), _count);

    public RingCancellation Cancel() => new() { Buffer = buffer };
}

/// <summary>write(2), pwrite(2) or send(2) of frozen bytes.</summary>
internal readonly struct FrozenEvent(IoUringOp operation, FrozenBuffer frozen, ulong offset, uint flags, int bufferIndex)
    : IBuiltInEvent<FrozenResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) =>
        entry.Transfer(bufferIndex < 0 ? operation : IoUringOp.WriteFixed, frozen.Address, frozen.Length, offset, flags, bufferIndex);

    public FrozenResult Complete(int result) => new(new RingResult(result), frozen);

    public RingCancellation Cancel() => new() { Frozen = frozen };
}

/// <summary>readv(2) or preadv(2) behind the written bytes of several buffers.</summary>
internal readonly struct FillVectorEvent(LentBuffer[] buffers, IoVectors vectors, ulong offset) : IBuiltInEvent<BuffersResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry.Transfer(IoUringOp.ReadV, vectors.Address, vectors.Count, offset);

    public BuffersResult Complete(int result)
    {
        SlabBuffer[] back = new SlabBuffer[buffers.Length];
        int left = Math.Max(0, result);
        for (int i = 0; i < back.Length; i++)
        {
            int here = Math.Min(left, buffers[i].RoomBytes);
            left -= here;
            back[i] = buffers[i].Return(here);
        }
        return new BuffersResult(new RingResult(result), back, vectors.Bytes);
    }

    public RingCancellation Cancel() => new() { Buffers = buffers };
}

/// <summary>writev(2) or pwritev(2) of several frozen buffers, from where the vectors stand.</summary>
internal readonly struct FrozenVectorEvent(FrozenBuffer[] frozen, IoVectors vectors, ulong offset) : IBuiltInEvent<FrozenBuffersResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry.Transfer(IoUringOp.WriteV, vectors.Address, vectors.Count, offset);

    public FrozenBuffersResult Complete(int result) => new(new RingResult(result), frozen, Math.Max(0, result), vectors.Bytes);

    public RingCancellation Cancel() => new() { FrozenBuffers = frozen };
}

/// <summary>readv(2) or writev(2) of memory that is the caller's business; the list of it is kept until the kernel is done.</summary>
internal readonly struct VectoredEvent(IoUringEntry filled, IoVectors vectors) : IBuiltInEvent<RingResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry = filled;

    public RingResult Complete(int result)
    {
        GC.KeepAlive(vectors);
        return new RingResult(result);
    }

    public RingCancellation Cancel() => new() { Vectors = vectors };
}
