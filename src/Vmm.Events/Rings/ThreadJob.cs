using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>One submission entry in the thread engine.</summary>
internal sealed class ThreadJob
{
    private const int Failed = -1;

    internal IoUringEntry Entry;
    private int _claimed;

    internal ThreadJob() => Place = new LinkedListNode<ThreadJob>(this);

    /// <summary>Its place among those that wait for a thread.</summary>
    internal LinkedListNode<ThreadJob> Place { get; }

    /// <summary>Whether it is outside of any chain: then no other job refers to it when it has ended, and it is reused.</summary>
    internal bool IsAlone { get; set; }

    /// <summary>The operation that starts when this one succeeded, or, if that is a time limit, the limit of this one.</summary>
    internal ThreadJob? NextLinked { get; set; }

    /// <summary>For a time limit: the operation that it ends.</summary>
    internal ThreadJob? Limits { get; set; }

    /// <summary>For what ends by time: when, in milliseconds of <see cref="Environment.TickCount64"/>.</summary>
    internal long DueMs { get; set; } = long.MaxValue;

    internal bool IsTimeLimit => Entry.Op == IoUringOp.LinkTimeout;

    /// <summary>Of the limit and the operation that it limits, the first to end decides how both do.</summary>
    internal bool TryClaim() => Interlocked.Exchange(ref _claimed, 1) == 0;

    internal bool IsClaimed => Volatile.Read(ref _claimed) != 0;

    /// <summary>When the time is over that the entry's timespec names, beginning now.</summary>
    internal void Arm()
    {
        DueMs = Environment.TickCount64 + EntryMemory.Milliseconds(Entry);
    }

    internal bool IsLinked => (Entry.Flags & (IoUringEntryFlags.Link | IoUringEntryFlags.HardLink)) != 0;

    /// <summary>Whether it may wait for ever, for a peer: such an operation must not hold a thread.</summary>
    internal bool WaitsForPeer => Entry.Op switch
    {
        IoUringOp.PollAdd or IoUringOp.Timeout or IoUringOp.Accept or IoUringOp.Connect => true,
        IoUringOp.Send or IoUringOp.Recv or IoUringOp.SendMsg or IoUringOp.RecvMsg or IoUringOp.Splice => true,
        IoUringOp.Read or IoUringOp.Write or IoUringOp.ReadV or IoUringOp.WriteV => !IsOnDisk(Entry.Fd),
        _ => false,
    };

    /// <summary>Whether this result ends the chain, as a short transfer does too (io_uring_enter(2), IOSQE_IO_LINK).</summary>
    internal bool BreaksLink(int result)
    {
        if ((Entry.Flags & IoUringEntryFlags.HardLink) != 0) return false;
        return result < 0 || Entry.Op switch
        {
            IoUringOp.Read or IoUringOp.Write => result < Entry.Length,
            IoUringOp.ReadV or IoUringOp.WriteV => result < EntryMemory.VectorBytes(Entry),
            _ => false,
        };
    }

    /// <summary>
    /// Makes the call, which may wait, or else gives <see cref="Errno.Again"/>. The list is for operations on one piece of memory.
    /// </summary>
    /// <returns>What io_uring would give.</returns>
    internal int Call(IoVectors single, bool waits)
    {
        int flags = (int)Entry.OpFlags | (waits ? 0 : Libc.RWF_NOWAIT);
        int socketFlags = (int)Entry.OpFlags | (waits ? 0 : Libc.MSG_DONTWAIT);
        nint address = (nint)Entry.Address;
        nint done = Entry.Op switch
        {
            IoUringOp.Read => Libc.ReadVectors(Entry.Fd, One(single), 1, (long)Entry.Offset, flags),
            IoUringOp.Write => Libc.WriteVectors(Entry.Fd, One(single), 1, (long)Entry.Offset, flags),
            IoUringOp.ReadV => Libc.ReadVectors(Entry.Fd, address, (int)Entry.Length, (long)Entry.Offset, flags),
            IoUringOp.WriteV => Libc.WriteVectors(Entry.Fd, address, (int)Entry.Length, (long)Entry.Offset, flags),
            IoUringOp.Fsync => Entry.OpFlags != 0 ? Libc.FdataSync(Entry.Fd) : Libc.Fsync(Entry.Fd),
            IoUringOp.Fallocate => Libc.Fallocate(Entry.Fd, (int)Entry.Length, (long)Entry.Offset, (long)Entry.Address),
            IoUringOp.OpenAt => Libc.OpenAt(Entry.Fd, address, (int)Entry.OpFlags, Entry.Length),
            IoUringOp.Close => Libc.Close(Entry.Fd),
            IoUringOp.Statx => Libc.Statx(Entry.Fd, address, (int)Entry.OpFlags, Entry.Length, (nint)Entry.Offset),
            IoUringOp.Accept => Libc.Accept(Entry.Fd, address, (nint)Entry.Offset, (int)Entry.OpFlags),
            IoUringOp.Send => Libc.Send(Entry.Fd, address, Entry.Length, socketFlags),
            IoUringOp.Recv => Libc.Receive(Entry.Fd, address, Entry.Length, socketFlags),
            IoUringOp.SendMsg => Libc.SendMessage(Entry.Fd, address, socketFlags),
            IoUringOp.RecvMsg => Libc.ReceiveMessage(Entry.Fd, address, socketFlags),
            IoUringOp.Shutdown => Libc.Shutdown(Entry.Fd, (int)Entry.Length),
            IoUringOp.Splice => Splice(waits),
            _ => -(nint)Errno.Invalid,
        };
        return done == Failed ? -(int)Libc.LastError : (int)done;
    }

    private nint Splice(bool waits)
    {
        const uint SpliceNonBlocking = 2;
        uint flags = Entry.OpFlags | (waits ? 0 : SpliceNonBlocking);
        return Libc.Splice(Entry.FileIndex, (long)Entry.Address, Entry.Fd, (long)Entry.Offset, Entry.Length, flags);
    }

    private nint One(IoVectors single)
    {
        single.Clear();
        single.Add((nint)Entry.Address, (int)Entry.Length);
        return single.Address;
    }

    internal static bool IsOnDisk(int fd) => Libc.FileKind(fd) is Libc.KindRegular or Libc.KindBlock or Libc.KindDirectory or 0;
}
