namespace Vmm.Devices.Native;

/// <summary>
/// The C interface of librados and librbd (rados/librados.h, rbd/librbd.h), which are loaded when a disk of a Ceph cluster is first
/// named. Errors are returned as negative numbers. Used by <see cref="RbdDisk"/> and its parts only.
/// </summary>
internal static unsafe partial class RbdCalls
{
    internal const ulong FeatureExclusiveLock = 4;
    internal const int LockExclusive = 0;
    internal const int NotifyByEventFd = 2;

    /// <summary>Zeroes take room as data does (RBD_WRITE_ZEROES_FLAG_THICK_PROVISION).</summary>
    internal const int ThickProvision = 1;

    private const string Rados = "librados.so.2";
    private const string Rbd = "librbd.so.1";

    /// <summary>Why the libraries can't be used; null if they can.</summary>
    internal static string? WhyNot() =>
        NativeLibrary.TryLoad(Rados, out _) && NativeLibrary.TryLoad(Rbd, out _) ? null
            : $"{Rbd} is not on this machine: install it, with apt install librbd1";

    /// <summary>
    /// Reads into vectors, or writes from them: the array is pinned, and it and what it points at stay as they are until the
    /// completion.
    /// </summary>
    internal static int Transfer(nint image, bool writes, IoVector[] pinned, int count, ulong offset, nint completion)
    {
        // SAFETY: the array is on the pinned object heap, struct iovec is what it holds, and its owner keeps both until the completion.
        IoVector* vectors = (IoVector*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(pinned));
        return writes ? WriteV(image, vectors, count, offset, completion) : ReadV(image, vectors, count, offset, completion);
    }

    /// <summary>Takes completions that are over, as many as there are and have room.</summary>
    internal static int PollEvents(nint image, Span<nint> completions)
    {
        // SAFETY: the library writes at most as many as the pinned span has room for.
        fixed (nint* first = completions) return PollEvents(image, first, completions.Length);
    }

    /// <summary>Has a descriptor signalled whenever the image's size, snapshots or features change.</summary>
    internal static int Watch(nint image, out ulong watch, OwnedFd eventFd) =>
        // SAFETY: the callback gets the number and nothing else; the watch ends before the descriptor is closed.
        UpdateWatch(image, out watch, &Changed, eventFd.Number);

    /// <summary>On a thread of librbd, where no other call of it may be made: hands the news to a descriptor.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Changed(nint eventFd)
    {
        ulong one = 1;
        // SAFETY: the kernel reads eight bytes of a local. A counter that is full has been signalled.
        _ = WriteNumber((int)eventFd, &one, sizeof(ulong));
    }

    [LibraryImport(Rados, EntryPoint = "rados_create", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Create(out nint cluster, string? id);

    [LibraryImport(Rados, EntryPoint = "rados_conf_read_file", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ReadConfiguration(nint cluster, string? path);

    [LibraryImport(Rados, EntryPoint = "rados_conf_set", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Configure(nint cluster, string option, string value);

    [LibraryImport(Rados, EntryPoint = "rados_connect")]
    internal static partial int Connect(nint cluster);

    [LibraryImport(Rados, EntryPoint = "rados_shutdown")]
    internal static partial void Shutdown(nint cluster);

    [LibraryImport(Rados, EntryPoint = "rados_ioctx_create", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenPool(nint cluster, string pool, out nint context);

    [LibraryImport(Rados, EntryPoint = "rados_ioctx_destroy")]
    internal static partial void ClosePool(nint context);

    [LibraryImport(Rados, EntryPoint = "rados_ioctx_set_namespace", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void SetNamespace(nint context, string name);

    [LibraryImport(Rbd, EntryPoint = "rbd_open", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(nint context, string name, out nint image, string? snapshot);

    [LibraryImport(Rbd, EntryPoint = "rbd_open_read_only", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenReadOnly(nint context, string name, out nint image, string? snapshot);

    [LibraryImport(Rbd, EntryPoint = "rbd_close")]
    internal static partial int Close(nint image);

    [LibraryImport(Rbd, EntryPoint = "rbd_flush")]
    internal static partial int FlushNow(nint image);

    [LibraryImport(Rbd, EntryPoint = "rbd_get_size")]
    internal static partial int GetSize(nint image, out ulong bytes);

    [LibraryImport(Rbd, EntryPoint = "rbd_get_features")]
    internal static partial int GetFeatures(nint image, out ulong features);

    [LibraryImport(Rbd, EntryPoint = "rbd_lock_acquire")]
    internal static partial int AcquireLock(nint image, int mode);

    [LibraryImport(Rbd, EntryPoint = "rbd_set_image_notification")]
    internal static partial int SetNotification(nint image, int fd, int type);

    [LibraryImport(Rbd, EntryPoint = "rbd_update_unwatch")]
    internal static partial int Unwatch(nint image, ulong watch);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_create_completion")]
    internal static partial int CreateCompletion(nint argument, nint callback, out nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_get_arg")]
    internal static partial nint ArgumentOf(nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_get_return_value")]
    internal static partial nint ResultOf(nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_release")]
    internal static partial void Release(nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_discard")]
    internal static partial int Discard(nint image, ulong offset, ulong length, nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_write_zeroes")]
    internal static partial int WriteZeroes(nint image, ulong offset, nuint length, nint completion, int flags, int operationFlags);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_flush")]
    internal static partial int Flush(nint image, nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_readv")]
    private static partial int ReadV(nint image, IoVector* vectors, int count, ulong offset, nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_aio_writev")]
    private static partial int WriteV(nint image, IoVector* vectors, int count, ulong offset, nint completion);

    [LibraryImport(Rbd, EntryPoint = "rbd_poll_io_events")]
    private static partial int PollEvents(nint image, nint* completions, int count);

    [LibraryImport(Rbd, EntryPoint = "rbd_update_watch")]
    private static partial int UpdateWatch(nint image, out ulong watch, delegate* unmanaged[Cdecl]<nint, void> callback, nint argument);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint WriteNumber(int fd, void* number, nuint length);
}
