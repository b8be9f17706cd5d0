using System.Buffers.Binary;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>
/// The scratch buffer of a sendmsg(2) or recvmsg(2): struct msghdr, one struct iovec, and one control message with descriptors, one behind
/// the other.
/// </summary>
internal static class MessageLayout
{
    internal const int DescriptorsMax = 64;
    internal const uint CloseOnExec = 0x40000000; // MSG_CMSG_CLOEXEC

    private const int VectorAt = 56;
    private const int ControlAt = 72;
    private const int ControlHead = 16;
    private const int ControlLengthAt = 40;
    private const int FlagsAt = 48;
    private const int SolSocket = 1;
    private const int ScmRights = 1;
    private const int TruncatedBits = 0x20 | 0x08; // MSG_TRUNC, MSG_CTRUNC

    internal static LentBuffer Write(SlabPool pool, nint data, int dataLength, ReadOnlySpan<int> descriptors, int room)
    {
        SlabBuffer scratch = pool.Rent(ControlAt + ControlHead + DescriptorsMax * sizeof(int));
        nint address = scratch.Block.Address;
        Span<byte> bytes = scratch.Room;
        int control = room == 0 ? 0 : ControlHead + (room * sizeof(int) + 7 & -8);
        Put(bytes, 16, address + VectorAt);
        Put(bytes, 24, 1);
        Put(bytes, 32, control == 0 ? 0 : address + ControlAt);
        Put(bytes, ControlLengthAt, control);
        Put(bytes, VectorAt, data);
        Put(bytes, VectorAt + 8, dataLength);
        if (!descriptors.IsEmpty)
        {
            Put(bytes, ControlAt, ControlHead + descriptors.Length * sizeof(int));
            BinaryPrimitives.WriteInt32LittleEndian(bytes[(ControlAt + 8)..], SolSocket);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[(ControlAt + 12)..], ScmRights);
            for (int i = 0; i < descriptors.Length; i++)
                BinaryPrimitives.WriteInt32LittleEndian(bytes[(ControlAt + ControlHead + i * sizeof(int))..], descriptors[i]);
        }
        scratch.Advance(bytes.Length);
        return scratch.Lend();
    }

    /// <summary>What the kernel wrote into the control message, and whether something did not fit.</summary>
    internal static OwnedFd[] ReadDescriptors(ReadOnlySpan<byte> scratch, out bool isCut)
    {
        isCut = (BinaryPrimitives.ReadInt32LittleEndian(scratch[FlagsAt..]) & TruncatedBits) != 0;
        long controlBytes = BinaryPrimitives.ReadInt64LittleEndian(scratch[ControlLengthAt..]);
        if (controlBytes < ControlHead) return [];
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(scratch[ControlAt..]);
        bool isRights = BinaryPrimitives.ReadInt32LittleEndian(scratch[(ControlAt + 8)..]) == SolSocket
            && BinaryPrimitives.ReadInt32LittleEndian(scratch[(ControlAt + 12)..]) == ScmRights;
        if (!isRights) return [];
        OwnedFd[] descriptors = new OwnedFd[(length - ControlHead) / sizeof(int)];
        for (int i = 0; i < descriptors.Length; i++)
            descriptors[i] = new OwnedFd(BinaryPrimitives.ReadInt32LittleEndian(scratch[(ControlAt + ControlHead + i * sizeof(int))..]));
        return descriptors;
    }

    private static void Put(Span<byte> bytes, int offset, long value) => BinaryPrimitives.WriteInt64LittleEndian(bytes[offset..], value);
}

/// <summary>sendmsg(2) with descriptors, which stay the caller's and are held open meanwhile.</summary>
internal readonly struct SendMessageEvent(LentBuffer scratch, FrozenBuffer data, OwnedFd[] descriptors) : IBuiltInEvent<FrozenResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry.Transfer(IoUringOp.SendMsg, scratch.Address, 1, 0, Libc.MSG_NOSIGNAL);

    public FrozenResult Complete(int result)
    {
        scratch.Release();
        foreach (OwnedFd descriptor in descriptors) descriptor.DangerousRelease();
        return new FrozenResult(new RingResult(result), data);
    }

    public RingCancellation Cancel() => new() { Scratch = scratch, Frozen = data, Descriptors = descriptors };
}

/// <summary>recvmsg(2) with room for descriptors.</summary>
internal readonly struct ReceiveMessageEvent(LentBuffer scratch, LentBuffer data) : IBuiltInEvent<MessageResult>
{
    public bool IsEager => false;

    public void Prepare(ref IoUringEntry entry) => entry.Transfer(IoUringOp.RecvMsg, scratch.Address, 1, 0, MessageLayout.CloseOnExec);

    public MessageResult Complete(int result)
    {
        SlabBuffer written = scratch.Return(0);
        bool isCut = false;
        OwnedFd[] descriptors = result >= 0 ? MessageLayout.ReadDescriptors(written.Bytes, out isCut) : [];
        written.Release();
        return new MessageResult(new RingResult(result), data.Return(Math.Max(0, result)), descriptors, isCut);
    }

    // Descriptors that come with an abandoned message are closed when the cancellation is released.
    public RingCancellation Cancel() => new() { Scratch = scratch, Buffer = data, ScratchHoldsDescriptors = true };
}
