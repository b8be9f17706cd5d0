using System.Buffers.Binary;
using System.Text;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>Which files the ring knows, and operations that make, name and end descriptors.</summary>
public sealed partial class IoRing
{
    private readonly Stack<int> _freeFileSlots;

    /// <summary>Makes a file known to the ring, and in the kernel's table if that has room.</summary>
    /// <exception cref="ObjectDisposedException">The file or the ring is closed.</exception>
    public RingFile Register(OwnedFd file)
    {
        ArgumentNullException.ThrowIfNull(file);
        CheckUsable();
        int slot = RingFile.NotRegistered;
        if (_freeFileSlots.TryPop(out int free))
        {
            if (_engine.TryRegisterFile(free, file.Number)) slot = free; else _freeFileSlots.Push(free);
        }
        return new RingFile(this, file, slot);
    }

    /// <summary>
    /// Puts another descriptor behind a registered file (IORING_OP_FILES_UPDATE), in its place among other operations: those that a chain
    /// has behind it go to the new one. The file holds the new descriptor from now on, and lets go of the old one when no operation on it
    /// is in flight.
    /// </summary>
    /// <param name="file">Which file.</param>
    /// <param name="replacement">What is to be behind it.</param>
    /// <returns>1, or why it could not be done: the old one stays.</returns>
    /// <exception cref="InvalidOperationException">
    /// The file has no place in the ring's table, or this is not the reactor's thread.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The file, the descriptor or the ring is closed.</exception>
    public RingOperation<RingResult> UpdateFile(RingFile file, OwnedFd replacement)
    {
        ArgumentNullException.ThrowIfNull(replacement);
        CheckFile(file);
        if (!file.IsRegistered)
            throw new InvalidOperationException($"the file has no place in the ring's table: raise {nameof(RingOptions.FilesMax)}");
        HeldFile held = HeldFile.Of(file, replacement);
        LentBuffer lent;
        try
        {
            Span<byte> number = stackalloc byte[sizeof(int)];
            BinaryPrimitives.WriteInt32LittleEndian(number, held.Number);
            lent = LendScratch(number);
        }
        catch
        {
            held.Release(-(int)Errno.Canceled);
            throw;
        }
        IoUringEntry entry = new()
        {
            Op = IoUringOp.FilesUpdate,
            Fd = -1,
            Address = (ulong)lent.Address,
            Length = 1,
            Offset = (ulong)file.Slot
        };
        return Start<HeldFileEvent, RingResult>(new HeldFileEvent(entry, held, lent), null);
    }

    /// <summary>Opens a file (openat(2)), close-on-exec.</summary>
    /// <param name="path">Where; a relative one from the process's directory.</param>
    /// <param name="flags">O_… flags.</param>
    /// <param name="mode">Permissions of a file that is made.</param>
    public RingOperation<DescriptorResult> Open(string path, int flags, int mode = 0x1B6)
    {
        const int CloseOnExec = 0x80000;
        LentBuffer lent = PathScratch(path, 0);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.OpenAt,
            Fd = Libc.AT_FDCWD,
            Address = (ulong)lent.Address,
            Length = (uint)mode,
            OpFlags = (uint)(flags | CloseOnExec),
        };
        return Start<DescriptorEvent, DescriptorResult>(new DescriptorEvent(entry, lent), null);
    }

    /// <summary>Asks what a file is (statx(2)).</summary>
    public RingOperation<StatxResult> Stat(string path)
    {
        const uint BasicStats = 0x7ff;
        LentBuffer lent = PathScratch(path, StatxEvent.AnswerBytes);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.Statx,
            Fd = Libc.AT_FDCWD,
            Address = (ulong)(lent.Address + StatxEvent.AnswerBytes),
            Offset = (ulong)lent.Address,
            Length = BasicStats,
        };
        return Start<StatxEvent, StatxResult>(new StatxEvent(entry, lent), null);
    }

    /// <summary>Closes a descriptor. It is the kernel's from now on, whatever the result.</summary>
    public RingOperation<RingResult> Close(OwnedFd descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        CheckUsable();
        int number = descriptor.Number;
        descriptor.SetHandleAsInvalid();
        return StartPlain(new IoUringEntry { Op = IoUringOp.Close, Fd = number }, null);
    }

    /// <summary>Moves bytes between two files, one of them a pipe, inside the kernel (splice(2)).</summary>
    /// <param name="from">Where from; a registered file is used by its number.</param>
    /// <param name="fromOffset">Byte position, or <see cref="CurrentPosition"/>.</param>
    /// <param name="to">Where to.</param>
    /// <param name="toOffset">Byte position, or <see cref="CurrentPosition"/>.</param>
    /// <param name="count">Most bytes.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Splice(RingFile from, ulong fromOffset, RingFile to, ulong toOffset, int count)
    {
        CheckFile(from);
        CheckFile(to);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.Splice,
            Address = fromOffset,
            Offset = toOffset,
            Length = (uint)count,
            FileIndex = from.Number,
        };
        return Start<HeldFileEvent, RingResult>(new HeldFileEvent(entry, HeldFile.Of(from), default), to);
    }

    private LentBuffer PathScratch(string path, int answerBytes)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (path.Contains('\0', StringComparison.Ordinal)) throw new ArgumentException("a path has no zero character", nameof(path));
        CheckUsable();
        SlabBuffer scratch = Scratch.Rent(answerBytes + Encoding.UTF8.GetMaxByteCount(path.Length) + 1);
        Span<byte> room = scratch.Room;
        int length = Encoding.UTF8.GetBytes(path, room[answerBytes..]);
        scratch.Advance(answerBytes + length + 1);
        return scratch.Lend();
    }

    internal void Forget(RingFile file)
    {
        if (_disposed || !file.IsRegistered) return;
        _engine.TryRegisterFile(file.Slot, RingFile.NotRegistered);
        _freeFileSlots.Push(file.Slot);
    }
}
