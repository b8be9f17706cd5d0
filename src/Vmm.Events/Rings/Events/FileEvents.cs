using System.Buffers.Binary;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>An operation that is numbers only and gives a number: fsync(2), fallocate(2), shutdown(2), poll(2), close(2).</summary>
internal readonly struct PlainEvent(IoUringEntry filled) : IBuiltInEvent<RingResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry = filled;

    public RingResult Complete(int result) => new(result);

    public RingCancellation Cancel() => default;
}

/// <summary>
/// An operation that gives a number and has more to hold than its own file: arguments in a scratch buffer, a second file. connect(2), a
/// timeout, splice(2), an update of the table of files.
/// </summary>
internal readonly struct HoldingEvent(IoUringEntry filled, LentBuffer scratch, HeldFile file = default, bool isEager = false)
    : IBuiltInEvent<RingResult>
{
    public bool IsEager => isEager;

    public void Prepare(ref IoUringEntry entry) => entry = filled;

    public RingResult Complete(int result)
    {
        if (!scratch.IsEmpty) scratch.Release();
        file.Release(result);
        return new RingResult(result);
    }

    public RingCancellation Cancel() => new() { Scratch = scratch, File = file };
}

/// <summary>openat(2) and accept(2): the result is a descriptor.</summary>
internal readonly struct DescriptorEvent(IoUringEntry filled, LentBuffer scratch) : IBuiltInEvent<DescriptorResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry = filled;

    public DescriptorResult Complete(int result)
    {
        if (!scratch.IsEmpty) scratch.Release();
        return new DescriptorResult(new RingResult(result), result >= 0 ? new OwnedFd(result) : null);
    }

    public RingCancellation Cancel() => new() { Scratch = scratch, ResultIsDescriptor = true };
}

/// <summary>statx(2): the path and the answer share a scratch buffer.</summary>
internal readonly struct StatxEvent(IoUringEntry filled, LentBuffer scratch) : IBuiltInEvent<StatxResult>
{
    public bool IsEager => false;

    /// <summary>sizeof(struct statx); its first field is the mask.</summary>
    internal const int AnswerBytes = 256;

    public void Prepare(ref IoUringEntry entry) => entry = filled;

    public StatxResult Complete(int result)
    {
        SlabBuffer answered = scratch.Return(0);
        ReadOnlySpan<byte> statx = answered.Bytes[..AnswerBytes];
        StatxResult read = new(
            new RingResult(result),
            Size: BinaryPrimitives.ReadInt64LittleEndian(statx[40..]),
            Mode: BinaryPrimitives.ReadUInt16LittleEndian(statx[28..]),
            Links: BinaryPrimitives.ReadUInt32LittleEndian(statx[16..]),
            Inode: BinaryPrimitives.ReadUInt64LittleEndian(statx[32..]),
            Blocks: BinaryPrimitives.ReadUInt64LittleEndian(statx[48..]));
        answered.Release();
        return read;
    }

    public RingCancellation Cancel() => new() { Scratch = scratch };
}
