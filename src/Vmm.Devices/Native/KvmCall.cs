namespace Vmm.Devices.Native;

/// <summary>The requests of /dev/kvm (ioctl(2)). Their numbers are in <see cref="KvmRequest"/>.</summary>
internal static unsafe partial class KvmCall
{
    private const string Name = "libc";

    [LibraryImport(Name, EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(int fd, nuint request, nuint argument);

    [LibraryImport(Name, EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(int fd, nuint request, void* argument);

    // No SetLastError: the loop reads errno itself, and only when the call failed.
    [LibraryImport(Name, EntryPoint = "ioctl")]
    private static partial int RunIoctl(int fd, nuint request, nuint argument);

    /// <summary>A request whose argument is a number.</summary>
    /// <returns>What the kernel returned, or −1 with <see cref="CallResult.LastError"/>.</returns>
    internal static int Control(int fd, uint request, nuint argument = 0) => Ioctl(fd, request, argument);

    /// <summary>A request whose argument is one structure, read or written by the kernel.</summary>
    /// <returns>What the kernel returned, or −1 with <see cref="CallResult.LastError"/>.</returns>
    internal static int Control<T>(int fd, uint request, ref T argument) where T : unmanaged
    {
        fixed (T* pointer = &argument)
        {
            // SAFETY: the size in the request number is sizeof(T), held by the ABI tests; the structure is pinned for the call.
            return Ioctl(fd, request, pointer);
        }
    }

    /// <summary>A request whose argument is bytes, as many as the kernel says that it takes, read or written by it.</summary>
    /// <returns>What the kernel returned, or −1 with <see cref="CallResult.LastError"/>.</returns>
    internal static int Control(int fd, uint request, Span<byte> argument)
    {
        fixed (byte* bytes = argument)
        {
            // SAFETY: the caller asked the kernel for the length; the bytes are pinned for the call.
            return Ioctl(fd, request, bytes);
        }
    }

    /// <summary>
    /// A request whose argument is a head and a number of entries that follow it in memory, read or written by the kernel. The head says
    /// how many.
    /// </summary>
    /// <returns>What the kernel returned, or −1 with <see cref="CallResult.LastError"/>.</returns>
    internal static int Control<THead, TEntry>(int fd, uint request, ref THead head, TEntry[] entries)
        where THead : unmanaged where TEntry : unmanaged
    {
        int length = entries.Length * sizeof(TEntry);
        fixed (byte* buffer = new byte[sizeof(THead) + length])
        fixed (TEntry* first = entries)
        {
            // SAFETY: the buffer holds the head and every entry that the head announces; both arrays are pinned while they are copied and
            // for the call.
            *(THead*)buffer = head;
            Buffer.MemoryCopy(first, buffer + sizeof(THead), length, length);
            int result = Ioctl(fd, request, buffer);
            head = *(THead*)buffer;
            Buffer.MemoryCopy(buffer + sizeof(THead), first, length, length);
            return result;
        }
    }

    /// <summary>
    /// Copies the bits of pages of a slot, which was set with logging, that were written since the last call (KVM_GET_DIRTY_LOG): one bit a
    /// 4 KiB page, in whole words.
    /// </summary>
    internal static Errno GetDirtyLog(int fd, uint slot, Span<ulong> bitmap)
    {
        fixed (ulong* pages = bitmap)
        {
            KvmDirtyLog log = new() { Slot = slot, Bitmap = (ulong)pages };
            // SAFETY: the caller sized the bitmap for the slot; it is pinned while the kernel writes it.
            return CallResult.Of(Ioctl(fd, KvmRequest.KVM_GET_DIRTY_LOG, &log));
        }
    }

    /// <summary>Runs guest code on a vCPU until it needs the host. Blocks; allocates nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Errno Run(int vcpu) =>
        RunIoctl(vcpu, KvmRequest.KVM_RUN, 0) == 0 ? Errno.None : (Errno)Marshal.GetLastSystemError();
}
