namespace Vmm.Devices.Native;

/// <summary>
/// The system calls by which a thread leaves the namespaces it shares with others: unshare(2), setns(2), and mounts that are held by
/// descriptors (open_tree(2), move_mount(2)).
/// </summary>
internal static unsafe partial class NamespaceCalls
{
    internal const int CLONE_NEWNS = 0x20000;
    internal const int CLONE_NEWIPC = 0x8000000;
    internal const int CLONE_NEWNET = 0x40000000;

    private const string Name = "libc";
    private const long NR_pivot_root = 155;
    private const long NR_open_tree = 428;
    private const long NR_move_mount = 429;
    private const long NR_mount_setattr = 442;
    private const nuint MS_RDONLY = 1, MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8, MS_REMOUNT = 32, MS_BIND = 4096;
    private const nuint MS_REC = 16384, MS_SLAVE = 1 << 19;
    private const int AT_FDCWD = -100;
    private const uint AT_EMPTY_PATH = 0x1000, AT_RECURSIVE = 0x8000, OPEN_TREE_CLONE = 1, OPEN_TREE_CLOEXEC = 0x80000;
    private const uint MOVE_MOUNT_F_EMPTY_PATH = 4;
    private const ulong MOUNT_ATTR_RDONLY = 1, MOUNT_ATTR_NOSUID = 2;
    private const int MNT_DETACH = 2;

    /// <summary>Leaves some namespaces, on the calling thread.</summary>
    internal static Errno Leave(int namespaces) => CallResult.Of(Unshare(namespaces));

    /// <summary>Takes the calling thread into some namespaces of the process's first thread (setns(2)), one each.</summary>
    /// <exception cref="KernelException">The kernel refuses.</exception>
    internal static void Follow(int namespaces)
    {
        // That of mounts last: it changes what the names mean.
        foreach ((int kind, string name) in
            (ReadOnlySpan<(int, string)>)[(CLONE_NEWIPC, "ipc"), (CLONE_NEWNET, "net"), (CLONE_NEWNS, "mnt")])
        {
            if ((namespaces & kind) == 0) continue;
            int fd = FileCalls.Open($"/proc/self/ns/{name}", FileCalls.O_RDONLY | FileCalls.O_CLOEXEC);
            if (fd < 0) throw new KernelException($"cannot look at the namespace '{name}' of this process", CallResult.LastError);
            using OwnedFd space = new(fd);
            Errno error = CallResult.Of(SetNamespace(space.Number, kind));
            if (error != Errno.None) throw new KernelException($"cannot take a thread into the namespace '{name}'", error);
        }
    }

    /// <summary>Keeps what is mounted from now on from other namespaces.</summary>
    // SAFETY: the kernel reads a text, and no other memory.
    internal static Errno KeepMounts() => CallResult.Of(Mount(null, "/", null, MS_REC | MS_SLAVE, null));

    /// <summary>Mounts an empty file system in memory, for a few names.</summary>
    // SAFETY: the kernel reads texts.
    internal static Errno MountEmpty(string path) =>
        CallResult.Of(Mount("vmm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m"));

    /// <summary>Has the root take no more names.</summary>
    // SAFETY: the kernel reads a text, and no other memory.
    internal static Errno FreezeRoot() =>
        CallResult.Of(Mount(null, "/", null, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, null));

    /// <summary>A mount of its own of a file or a directory and what is mounted below, in no place yet; null if there is none.</summary>
    internal static OwnedFd? CloneTree(string path) => CallResult.Descriptor(
        (nint)OpenTree(NR_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));

    /// <summary>Forbids to write by such a mount.</summary>
    internal static Errno MakeReadOnly(OwnedFd tree)
    {
        ulong* attributes = stackalloc ulong[4] { MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0 };
        // SAFETY: struct mount_attr is four numbers, which the kernel reads.
        return CallResult.Of(
            (nint)SetAttributes(NR_mount_setattr, tree.Number, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes, 4 * sizeof(ulong)));
    }

    /// <summary>Gives it a place.</summary>
    internal static Errno Place(OwnedFd tree, string path) =>
        CallResult.Of((int)MoveMount(NR_move_mount, tree.Number, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));

    /// <summary>Makes the working directory the root, and lets go of the old one.</summary>
    internal static Errno BecomeRoot()
    {
        // The old root lies over the new one for a moment: what is unmounted is it.
        Errno error = CallResult.Of((int)PivotRoot(NR_pivot_root, ".", "."));
        return error != Errno.None ? error : CallResult.Of(Unmount(".", MNT_DETACH));
    }

    /// <summary>Takes away what is mounted at a path.</summary>
    internal static void Unmount(string path) => _ = Unmount(path, MNT_DETACH);

    /// <summary>Sets the working directory, of the calling thread if it shares none.</summary>
    internal static Errno Enter(string directory) => CallResult.Of(ChangeDirectory(directory));

    [LibraryImport(Name, EntryPoint = "unshare", SetLastError = true)]
    private static partial int Unshare(int flags);

    [LibraryImport(Name, EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNamespace(int fd, int kind);

    [LibraryImport(Name, EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Mount(string? source, string target, string? type, nuint flags, string? data);

    [LibraryImport(Name, EntryPoint = "umount2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unmount(string target, int flags);

    [LibraryImport(Name, EntryPoint = "chdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeDirectory(string path);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long OpenTree(long number, int directory, string path, uint flags);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long MoveMount(long number, int from, string fromPath, int to, string toPath, uint flags);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long SetAttributes(long number, int directory, string path, uint flags, void* attributes, nuint size);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial long PivotRoot(long number, string root, string old);
}
