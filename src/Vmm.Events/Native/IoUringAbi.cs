namespace Vmm.Events.Native;

/// <summary>IORING_SETUP_… (io_uring_setup(2)).</summary>
[Flags]
internal enum IoUringSetup : uint
{
    None = 0,
    CqSize = 1u << 3,
    Clamp = 1u << 4,
    Disabled = 1u << 6,
    SubmitAll = 1u << 7,
    CoopTaskRun = 1u << 8,
    TaskRunFlag = 1u << 9,
    SingleIssuer = 1u << 12,
    DeferTaskRun = 1u << 13,
}

/// <summary>IORING_FEAT_…: what the kernel can do (io_uring_setup(2)).</summary>
[Flags]
internal enum IoUringFeatures : uint
{
    None = 0,
    SingleMmap = 1u << 0,
    NoDrop = 1u << 1,
    SubmitStable = 1u << 2,
    ExtArg = 1u << 8,
    CqeSkip = 1u << 11,
}

/// <summary>IORING_OP_… (io_uring_enter(2)).</summary>
internal enum IoUringOp : byte
{
    Nop = 0,
    ReadV = 1,
    WriteV = 2,
    Fsync = 3,
    ReadFixed = 4,
    WriteFixed = 5,
    PollAdd = 6,
    PollRemove = 7,
    SendMsg = 9,
    RecvMsg = 10,
    Timeout = 11,
    TimeoutRemove = 12,
    Accept = 13,
    AsyncCancel = 14,
    LinkTimeout = 15,
    Connect = 16,
    Fallocate = 17,
    OpenAt = 18,
    Close = 19,
    FilesUpdate = 20,
    Statx = 21,
    Read = 22,
    Write = 23,
    Send = 26,
    Recv = 27,
    Splice = 30,
    Shutdown = 34,
    ReadVFixed = 60,
    WriteVFixed = 61,
}

/// <summary>IOSQE_…: how an entry is submitted.</summary>
[Flags]
internal enum IoUringEntryFlags : byte
{
    None = 0,
    FixedFile = 1 << 0,
    Drain = 1 << 1,
    Link = 1 << 2,
    HardLink = 1 << 3,
    Async = 1 << 4,
    CqeSkipSuccess = 1 << 6,
}

/// <summary>IORING_CQE_F_…</summary>
[Flags]
internal enum IoUringCompletionFlags : uint
{
    None = 0,
    Buffer = 1u << 0,
    More = 1u << 1,
}

/// <summary>IORING_REGISTER_… (io_uring_register(2)).</summary>
internal enum IoUringRegister : uint
{
    Buffers = 0,
    UnregisterBuffers = 1,
    Files = 2,
    UnregisterFiles = 3,
    EventFd = 4,
    FilesUpdate = 6,
    Probe = 8,
    Restrictions = 11,
    EnableRings = 12,
    Files2 = 13,
    Buffers2 = 15,
    BuffersUpdate = 16,
    RingFds = 20,
    UnregisterRingFds = 21,
}

/// <summary>
/// struct io_uring_sqe: one submission. The fields whose meaning depends on the operation carry the name of their most common use.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct IoUringEntry
{
    [FieldOffset(0)] internal IoUringOp Op;
    [FieldOffset(1)] internal IoUringEntryFlags Flags;
    [FieldOffset(2)] internal ushort IoPriority;
    [FieldOffset(4)] internal int Fd;
    [FieldOffset(8)] internal ulong Offset;
    [FieldOffset(16)] internal ulong Address;
    [FieldOffset(24)] internal uint Length;
    [FieldOffset(28)] internal uint OpFlags;
    [FieldOffset(32)] internal ulong UserData;
    [FieldOffset(40)] internal ushort BufferIndex;
    [FieldOffset(42)] internal ushort Personality;
    [FieldOffset(44)] internal int FileIndex;
    [FieldOffset(48)] internal ulong Address3;

    /// <summary>
    /// Fills in a transfer between a file and memory, or a list of pieces of it; with the number of the registered buffer that the memory
    /// is in, if the operation is a fixed one.
    /// </summary>
    internal void Transfer(IoUringOp op, nint address, int length, ulong offset, uint flags = 0, int bufferIndex = -1)
    {
        (Op, Address, Length, Offset, OpFlags) = (op, (ulong)address, (uint)length, offset, flags);
        BufferIndex = (ushort)Math.Max(0, bufferIndex);
    }
}

/// <summary>struct io_uring_cqe: one completion. A negative result is an error number with its sign turned.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringCompletion
{
    internal ulong UserData;
    internal int Result;
    internal IoUringCompletionFlags Flags;
}

/// <summary>struct io_uring_params.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringParams
{
    internal uint SqEntries;
    internal uint CqEntries;
    internal IoUringSetup Flags;
    internal uint SqThreadCpu;
    internal uint SqThreadIdle;
    internal IoUringFeatures Features;
    internal uint WqFd;
    internal uint Reserved0;
    internal uint Reserved1;
    internal uint Reserved2;
    internal IoUringSqOffsets Sq;
    internal IoUringCqOffsets Cq;
}

/// <summary>struct io_sqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringSqOffsets
{
    internal uint Head;
    internal uint Tail;
    internal uint RingMask;
    internal uint RingEntries;
    internal uint Flags;
    internal uint Dropped;
    internal uint Array;
    internal uint Reserved1;
    internal ulong UserAddress;
}

/// <summary>struct io_cqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringCqOffsets
{
    internal uint Head;
    internal uint Tail;
    internal uint RingMask;
    internal uint RingEntries;
    internal uint Overflow;
    internal uint Entries;
    internal uint Flags;
    internal uint Reserved1;
    internal ulong UserAddress;
}

/// <summary>struct io_uring_getevents_arg: the time limit of a wait.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringWaitArgument
{
    internal ulong SignalMask;
    internal uint SignalMaskSize;
    internal uint Padding;
    internal ulong TimeSpec;
}

/// <summary>struct io_uring_rsrc_update, for the registration of a ring's own descriptor.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringResourceUpdate
{
    internal uint Offset;
    internal uint Reserved;
    internal ulong Data;
}

/// <summary>struct __kernel_timespec.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KernelTimeSpec
{
    internal long Seconds;
    internal long Nanoseconds;
}
