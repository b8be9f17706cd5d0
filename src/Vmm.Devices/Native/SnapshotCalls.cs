namespace Vmm.Devices.Native;

/// <summary>
/// The system calls behind a directory that appears whole or not at all: mkdir(2), flock(2), fsync(2), renameat2(2), unlinkat(2); of
/// one that has no name first: linkat(2), futimens(2); and pread(2).
/// </summary>
internal static unsafe partial class SnapshotCalls
{
    private const string Library = "libc";
    private const int AT_FDCWD = -100;
    private const int AT_REMOVEDIR = 0x200;
    private const int LOCK_EX = 2;
    private const int LOCK_NB = 4;
    private const int O_DIRECTORY = 0x10000;
    private const int O_NOFOLLOW = 0x20000;
    private const uint RENAME_NOREPLACE = 1;

    [LibraryImport(Library, EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeDirectory(string path, uint mode);

    [LibraryImport(Library, EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(int fd, int operation);

    [LibraryImport(Library, EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(int fd);

    [LibraryImport(Library, EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Rename(int oldDirectory, string oldPath, int newDirectory, string newPath, uint flags);

    [LibraryImport(Library, EntryPoint = "unlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unlink(int directory, string path, int flags);

    [LibraryImport(Library, EntryPoint = "pread", SetLastError = true)]
    private static partial nint Read(int fd, byte* bytes, nuint count, long offset);

    [LibraryImport(Library, EntryPoint = "futimens", SetLastError = true)]
    private static partial int SetTimes(int fd, long* times);

    [LibraryImport(Library, EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(int oldDirectory, string oldPath, int newDirectory, string newPath, int flags);

    /// <summary>Makes a directory that only its owner may look into.</summary>
    internal static Errno MakeDirectory(string path) => CallResult.Of(MakeDirectory(path, 0x1c0));

    /// <summary>Opens a directory, and no symbolic link to one.</summary>
    internal static OwnedFd? OpenDirectory(string path) =>
        CallResult.Descriptor(FileCalls.Open(path, FileCalls.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | FileCalls.O_CLOEXEC));

    /// <summary>Makes a file that was not there, for reading and writing by its owner.</summary>
    internal static OwnedFd? MakeFile(string path) =>
        CallResult.Descriptor(
            FileCalls.Open(path, FileCalls.O_RDWR | FileCalls.O_CREAT | FileCalls.O_EXCL | O_NOFOLLOW | FileCalls.O_CLOEXEC, 0x180));

    /// <summary>Opens a file for reading, and no symbolic link to one. Does not wait for the other end of a pipe.</summary>
    internal static OwnedFd? OpenFile(string path) =>
        CallResult.Descriptor(FileCalls.Open(path, FileCalls.O_RDONLY | FileCalls.O_NONBLOCK | O_NOFOLLOW | FileCalls.O_CLOEXEC));

    /// <summary>Locks an open directory against other processes that ask; ends with the descriptor.</summary>
    /// <returns><see cref="Errno.Again"/> if another has it.</returns>
    internal static Errno TryLock(OwnedFd directory) => CallResult.Of(Lock(directory.Number, LOCK_EX | LOCK_NB));

    /// <summary>Makes a file's bytes, or a directory's names, durable.</summary>
    internal static Errno Sync(OwnedFd file) => CallResult.Of(Sync(file.Number));

    /// <summary>Sets when a file was written last (futimens(2)).</summary>
    internal static Errno SetModified(OwnedFd file, long unixNanoseconds)
    {
        const long UTIME_OMIT = (1L << 30) - 2, NanosecondsPerSecond = 1_000_000_000;
        // Two struct timespec: when it was read last, and written.
        long* times = stackalloc long[]
            { 0, UTIME_OMIT, unixNanoseconds / NanosecondsPerSecond, unixNanoseconds % NanosecondsPerSecond };
        // SAFETY: the kernel reads two struct timespec of a local.
        return CallResult.Of(SetTimes(file.Number, times));
    }

    /// <summary>Gives a file that has none a name, unless another has it (linkat(2)).</summary>
    internal static Errno Name(OwnedFd file, string path)
    {
        const int AT_SYMLINK_FOLLOW = 0x400;
        return CallResult.Of(Link(AT_FDCWD, $"/proc/self/fd/{file.Number}", AT_FDCWD, path, AT_SYMLINK_FOLLOW));
    }

    /// <summary>Gives a path another name, unless there is one already.</summary>
    internal static Errno RenameToNew(string from, string to) =>
        CallResult.Of(Rename(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE));

    internal static Errno RemoveFile(string path) => CallResult.Of(Unlink(AT_FDCWD, path, 0));

    /// <summary>Removes a directory that is empty.</summary>
    internal static Errno RemoveDirectory(string path) => CallResult.Of(Unlink(AT_FDCWD, path, AT_REMOVEDIR));

    /// <summary>Reads bytes at a place of a file.</summary>
    /// <returns>How many: fewer at the file's end.</returns>
    internal static int Read(OwnedFd file, Span<byte> bytes, long offset, out Errno error)
    {
        int done = 0;
        error = Errno.None;
        while (done < bytes.Length)
        {
            // SAFETY: the kernel writes at most as many bytes as the pinned span has left.
            fixed (byte* first = bytes[done..])
            {
                nint read = Read(file.Number, first, (nuint)(bytes.Length - done), offset + done);
                if (read == 0) break;
                if (read > 0)
                {
                    done += (int)read;
                    continue;
                }
            }
            error = CallResult.LastError;
            if (error != Errno.Interrupted) break;
            error = Errno.None;
        }
        return done;
    }
}
