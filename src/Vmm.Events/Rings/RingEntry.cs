namespace Vmm.Events.Rings;

/// <summary>
/// A submission entry as the kernel takes it (struct io_uring_sqe of io_uring_enter(2)), for an <see cref="IRingEvent{TResult}"/>. Fields
/// whose meaning depends on the operation carry the name of their most common use. What is not here is the ring's.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public record struct RingEntry
{
    [FieldOffset(0)] private byte _operation;
    [FieldOffset(2)] private ushort _priority;
    [FieldOffset(4)] private int _fd;
    [FieldOffset(8)] private ulong _offset;
    [FieldOffset(16)] private ulong _address;
    [FieldOffset(24)] private uint _length;
    [FieldOffset(28)] private uint _flags;
    [FieldOffset(44)] private int _fileIndex;
    [FieldOffset(48)] private ulong _address3;

    /// <summary>Which operation (IORING_OP_…).</summary>
    public byte Operation { readonly get => _operation; set => _operation = value; }

    /// <summary>The priority of input and output, or flags of the operation (ioprio).</summary>
    public ushort Priority { readonly get => _priority; set => _priority = value; }

    /// <summary>
    /// The descriptor, for an operation that is begun without a file; one that has a file gets its descriptor from the ring.
    /// </summary>
    public int Fd { readonly get => _fd; set => _fd = value; }

    /// <summary>Byte position in the file, or a second address (off, addr2).</summary>
    public ulong Offset { readonly get => _offset; set => _offset = value; }

    /// <summary>Address of the memory, or the offset of a splice(2) (addr).</summary>
    public ulong Address { readonly get => _address; set => _address = value; }

    /// <summary>Bytes, or the number of pieces (len).</summary>
    public uint Length { readonly get => _length; set => _length = value; }

    /// <summary>Flags of the operation (rw_flags, fsync_flags, msg_flags, fadvise_advice …).</summary>
    public uint Flags { readonly get => _flags; set => _flags = value; }

    /// <summary>The second descriptor of a splice(2), or a place in the table of files (splice_fd_in, file_index).</summary>
    public int FileIndex { readonly get => _fileIndex; set => _fileIndex = value; }

    /// <summary>A third address (addr3).</summary>
    public ulong Address3 { readonly get => _address3; set => _address3 = value; }
}
