namespace Vmm.Devices.Native;

/// <summary>
/// The system calls behind disk images: open(2), preadv2(2), pwritev2(2), fdatasync(2), fallocate(2), fcntl(2) locks, ioctl(2) of block
/// devices.
/// </summary>
internal static unsafe partial class FileCalls
{
    private const string Name = "libc";

    internal const int O_RDONLY = 0;
    internal const int O_WRONLY = 1;
    internal const int O_RDWR = 2;
    internal const int O_CREAT = 0x40;
    internal const int O_EXCL = 0x80;
    internal const int O_APPEND = 0x400;
    internal const int O_NONBLOCK = 0x800;
    internal const int O_DIRECT = 0x4000;
    internal const int O_CLOEXEC = 0x80000;
    internal const int O_PATH = 0x200000;
    internal const int O_TMPFILE = 0x410000;
    internal const int FALLOC_FL_KEEP_SIZE = 0x01;
    internal const int FALLOC_FL_PUNCH_HOLE = 0x02;
    internal const int FALLOC_FL_ZERO_RANGE = 0x10;
    internal const int RWF_DSYNC = 0x02;
    internal const int RWF_NOWAIT = 0x08;
    internal const int RWF_DONTCACHE = 0x80;
    internal const int F_OFD_GETLK = 36;
    internal const int F_OFD_SETLK = 37;
    internal const short F_RDLCK = 0;
    internal const short F_WRLCK = 1;
    internal const short F_UNLCK = 2;
    internal const int SEEK_END = 2;
    internal const int SEEK_DATA = 3;
    internal const int SEEK_HOLE = 4;
    internal const uint BLKROGET = 0x125e;
    internal const uint BLKSSZGET = 0x1268;
    internal const uint BLKPBSZGET = 0x127b;
    internal const uint BLKGETZONESZ = 0x80041284;
    internal const uint LOOP_GET_STATUS64 = 0x4c05;
    internal const uint FICLONE = 0x40049409;
    private const int F_SETFL = 4;

    /// <summary>Most vectors of one call (IOV_MAX).</summary>
    internal const int VectorsMax = 1024;

    private static volatile bool _isBound;

    /// <summary>Binds the calls that a reactor's thread makes: to bind one when it is first made allocates the library's name.</summary>
    internal static void Bind()
    {
        const int NoFile = -1;
        if (_isBound) return;
        // SAFETY: the kernel refuses a descriptor that is none before it looks at anything else.
        _ = ReadVectors(NoFile, null, 0, 0, 0);
        _ = WriteVectors(NoFile, null, 0, 0, 0);
        _ = WriteBytes(NoFile, null, 0, 0);
        _ = Sync(NoFile);
        _ = Allocate(NoFile, 0, 0L, 0L);
        _isBound = true;
    }

    /// <summary>open(2); where the sandbox does not let this process, by its broker.</summary>
    internal static int Open(string path, int flags, uint mode = 0)
    {
        int fd = OpenHere(path, flags, mode);
        if (fd >= 0) return fd;
        Errno errno = CallResult.LastError;
        if (BrokerLink.Current is { } broker && BrokerLink.MayHelp(errno) && BrokerLink.IsNamed(path))
            fd = broker.Ask(BrokerCall.Open, path, out errno, (uint)flags, mode);
        if (fd < 0) Marshal.SetLastPInvokeError((int)errno);
        return fd;
    }

    [LibraryImport(Name, EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenHere(string path, int flags, uint mode);

    [LibraryImport(Name, EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Seek(int fd, long offset, int whence);

    [LibraryImport(Name, EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int Sync(int fd);

    [LibraryImport(Name, EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(int fd, int mode, long offset, long length);

    [LibraryImport(Name, EntryPoint = "preadv2", SetLastError = true)]
    private static partial nint ReadVectors(int fd, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport(Name, EntryPoint = "pwritev2", SetLastError = true)]
    private static partial nint WriteVectors(int fd, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport(Name, EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint WriteBytes(int fd, byte* bytes, nuint count, long offset);

    [LibraryImport(Name, EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Lock(int fd, int command, FileLock* fileLock);

    [LibraryImport(Name, EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(int fd, int command, int argument);

    [LibraryImport(Name, EntryPoint = "ioctl", SetLastError = true)]
    private static partial int InputOutputControl(int fd, nuint request, void* answer);

    /// <summary>Reads into vectors that their holder keeps mapped.</summary>
    /// <returns>Bytes read, 0 at the end of the file; or −1 and an error.</returns>
    internal static nint Read(int fd, ReadOnlySpan<IoVector> vectors, long offset, int flags, out Errno error)
    {
        // SAFETY: the kernel reads `count` vectors from the pinned span; what they point at is guest memory that the chain holds mapped.
        fixed (IoVector* first = vectors)
        {
            nint done = ReadVectors(fd, first, vectors.Length, offset, flags);
            error = CallResult.Of(done);
            return done;
        }
    }

    /// <summary>Writes from vectors that their holder keeps mapped.</summary>
    /// <returns>Bytes written; or −1 and an error.</returns>
    internal static nint Write(int fd, ReadOnlySpan<IoVector> vectors, long offset, int flags, out Errno error)
    {
        // SAFETY: as for Read; the kernel only reads the memory.
        fixed (IoVector* first = vectors)
        {
            nint done = WriteVectors(fd, first, vectors.Length, offset, flags);
            error = CallResult.Of(done);
            return done;
        }
    }

    /// <inheritdoc cref="Write(int, ReadOnlySpan{IoVector}, long, int, out Errno)"/>
    internal static nint Write(int fd, ReadOnlySpan<byte> bytes, long offset, out Errno error)
    {
        // SAFETY: the kernel reads the pinned span.
        fixed (byte* first = bytes)
        {
            nint done = WriteBytes(fd, first, (nuint)bytes.Length, offset);
            error = CallResult.Of(done);
            return done;
        }
    }

    /// <summary>Makes a file that is open for writing so long.</summary>
    internal static Errno SetLength(int fd, ulong bytes) => CallResult.Of(MemoryCalls.Truncate(fd, (long)bytes));

    /// <summary>Makes what was written durable (fdatasync(2)).</summary>
    internal static Errno Flush(int fd) => CallResult.Of(Sync(fd));

    /// <summary>Changes the allocation of a range, never the file's size (fallocate(2)).</summary>
    internal static Errno Allocate(int fd, int mode, ulong offset, ulong length) =>
        CallResult.Of(Allocate(fd, mode | FALLOC_FL_KEEP_SIZE, (long)offset, (long)length));

    /// <summary>
    /// Has calls on a file that was opened with O_NONBLOCK wait again, with the status flags it keeps (fcntl(2), F_SETFL).
    /// </summary>
    internal static Errno MakeBlocking(int fd, int flags) => CallResult.Of(Control(fd, F_SETFL, flags));

    /// <summary>
    /// Locks bytes of a file, shared, for this open file description; they end with the description (fcntl(2), F_OFD_SETLK).
    /// </summary>
    internal static Errno LockBytes(int fd, long start, long count)
    {
        FileLock bytes = new() { Type = F_RDLCK, Start = start, Length = count };
        // SAFETY: the kernel reads one struct flock from a local.
        return CallResult.Of(Lock(fd, F_OFD_SETLK, &bytes));
    }

    /// <summary>Whether another open file description has one of some bytes locked, by any kind of lock.</summary>
    /// <returns><see cref="Errno.Again"/> if so.</returns>
    internal static Errno AreBytesLocked(int fd, long start, long count)
    {
        FileLock bytes = new() { Type = F_WRLCK, Start = start, Length = count };
        // SAFETY: the kernel reads and writes one struct flock in a local.
        if (Lock(fd, F_OFD_GETLK, &bytes) != 0) return CallResult.LastError;
        return bytes.Type == F_UNLCK ? Errno.None : Errno.Again;
    }

    /// <summary>Takes away all locks of this open file description.</summary>
    internal static void Unlock(int fd)
    {
        FileLock whole = new() { Type = F_UNLCK };
        // SAFETY: the kernel reads one struct flock from a local.
        _ = Lock(fd, F_OFD_SETLK, &whole);
    }

    /// <summary>Has a file share all blocks of another until one of them is written (ioctl_ficlone(2)).</summary>
    internal static Errno Share(int destination, int source) =>
        // SAFETY: the argument is a number, and nothing is written through it.
        CallResult.Of(InputOutputControl(destination, FICLONE, (void*)source));

    /// <summary>What is behind a loop device (ioctl(2), LOOP_GET_STATUS64).</summary>
    internal static bool AskLoop(int fd, out LoopStatus status)
    {
        LoopStatus local = default;
        // SAFETY: the kernel writes one struct loop_info64 into a local of that size (the ABI test compares it).
        bool known = InputOutputControl(fd, LOOP_GET_STATUS64, &local) == 0;
        status = local;
        return known;
    }

    /// <summary>Asks a block device for a number of up to 32 bits (ioctl(2)).</summary>
    /// <returns>What it says, or something else if it has no answer.</returns>
    internal static uint AskDisk(int fd, uint request, uint otherwise)
    {
        uint answer = 0;
        // SAFETY: the requests named here write one int into a local.
        return InputOutputControl(fd, request, &answer) == 0 ? answer : otherwise;
    }
}

/// <summary>struct flock (fcntl(2)): all zero but the type means the whole file.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileLock
{
    internal short Type;
    internal short Whence;
    internal long Start;
    internal long Length;
    internal int Owner;
}

/// <summary>struct loop_info64 (loop(4)); only the fields used here are named.</summary>
[StructLayout(LayoutKind.Explicit, Size = 232)]
internal struct LoopStatus
{
    [FieldOffset(0)] internal ulong Device;
    [FieldOffset(8)] internal ulong Inode;
}
