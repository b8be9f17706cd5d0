namespace Vmm.Events.Native;

/// <summary>struct io_uring_rsrc_register: a table of files or buffers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringTableRegistration
{
    internal uint Count;
    internal uint Flags;
    internal ulong Reserved;
    internal ulong Data;
    internal ulong Tags;
}

/// <summary>struct io_uring_rsrc_update2: slots of such a table.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringTaggedUpdate
{
    internal uint Offset;
    internal uint Reserved;
    internal ulong Data;
    internal ulong Tags;
    internal uint Count;
    internal uint Reserved2;
}

/// <summary>struct io_uring_restriction: something that a ring does, and nothing else of its kind.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringRestriction
{
    internal IoUringRestrictionKind Kind;
    internal byte Value;
    internal byte Reserved;
    internal uint Reserved1;
    internal uint Reserved2;
    internal uint Reserved3;
}

/// <summary>IORING_RESTRICTION_…</summary>
internal enum IoUringRestrictionKind : ushort
{
    Registration = 0,
    Operation = 1,
    EntryFlags = 2,
}

/// <summary>struct iovec (readv(2)); also a registered buffer.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoVec
{
    internal nint Address;
    internal nint Length;
}
