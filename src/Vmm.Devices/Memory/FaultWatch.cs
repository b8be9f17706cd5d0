using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>
/// Protects mappings of shared memory against being written, and learns of each attempt (userfaultfd(2), UFFDIO_WRITEPROTECT). A thread
/// that writes waits in the kernel until the page is released, a processor of a guest too. Threads of the runtime must not write there: one
/// that waits in managed code keeps the collector waiting, and with it the thread that would release the page.
/// </summary>
internal sealed class FaultWatch : IDisposable
{
    private const string DevicePath = "/dev/userfaultfd";
    private const int O_CLOEXEC = 0x80000, O_NONBLOCK = 0x800;
    private const ulong Api = 0xaa;
    private const ulong FeaturesNeeded = 1 << 0 | 1 << 12; // UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFD_FEATURE_WP_HUGETLBFS_SHMEM
    private const ulong RegisterWriteProtect = 2, WriteProtect = 1;
    private const byte PageFault = 0x12;

    /// <summary>struct uffd_msg: the kind of event, and at 16 the address of a fault.</summary>
    private const int MessageBytes = 32, AddressOffset = 16;

    private readonly OwnedFd _fd;

    private FaultWatch(OwnedFd fd) => _fd = fd;

    /// <summary>Where it is opened, if the kernel has it there.</summary>
    internal static string Path => DevicePath;

    /// <summary>Opens one; if there is none, a sentence says why.</summary>
    internal static FaultWatch? TryOpen(out string refusal)
    {
        refusal = "";
        int number = FromDevice();
        if (number < 0) number = UserFaultCalls.Open(O_CLOEXEC | O_NONBLOCK);
        if (number < 0)
        {
            refusal = $"this process may not open {DevicePath}: {KernelException.Describe(CallResult.LastError)}";
            return null;
        }
        OwnedFd fd = new(number);
        UserFaultApi api = new() { Api = Api, Features = FeaturesNeeded };
        if (KvmCall.Control(number, UserFaultCalls.UFFDIO_API, ref api) == 0) return new FaultWatch(fd);
        fd.Dispose();
        refusal = "this kernel does not protect shared memory by userfaultfd: Linux 5.19 does";
        return null;
    }

    /// <summary>Watches a mapping. Nothing of it is protected yet.</summary>
    internal void Register(nint start, ulong length)
    {
        UserFaultRange range = new() { Start = (ulong)start, Length = length, Mode = RegisterWriteProtect };
        Check(KvmCall.Control(_fd.Number, UserFaultCalls.UFFDIO_REGISTER, ref range), "UFFDIO_REGISTER");
    }

    /// <summary>Releases all of a mapping, and watches it no more.</summary>
    internal void Unregister(nint start, ulong length)
    {
        // The end of a watch wakes those that wait for a page to be there, and not those that wait to write.
        Protect(start, length, isProtected: false);
        UserFaultProtect range = new() { Start = (ulong)start, Length = length };
        Check(KvmCall.Control(_fd.Number, UserFaultCalls.UFFDIO_UNREGISTER, ref range), "UFFDIO_UNREGISTER");
    }

    /// <summary>Protects pages of a mapping that is watched, or releases them and wakes the threads that wait.</summary>
    internal void Protect(nint start, ulong length, bool isProtected)
    {
        UserFaultProtect range = new() { Start = (ulong)start, Length = length, Mode = isProtected ? WriteProtect : 0 };
        Check(KvmCall.Control(_fd.Number, UserFaultCalls.UFFDIO_WRITEPROTECT, ref range), "UFFDIO_WRITEPROTECT");
    }

    /// <summary>Takes the addresses of the next attempts to write; none if there are none.</summary>
    internal int Read(Span<ulong> addresses)
    {
        Span<byte> room = stackalloc byte[MessageBytes * addresses.Length];
        // The kernel writes whole messages, and says how many bytes; the descriptor does not block.
        _ = StreamCalls.Read(_fd.Number, room, out int read);
        int count = 0;
        for (int at = 0; at + MessageBytes <= read; at += MessageBytes)
        {
            if (room[at] == PageFault) addresses[count++] = BinaryPrimitives.ReadUInt64LittleEndian(room[(at + AddressOffset)..]);
        }
        return count;
    }

    public void Dispose() => _fd.Dispose();

    private static int FromDevice()
    {
        int device = FileCalls.Open(DevicePath, FileCalls.O_RDWR | FileCalls.O_CLOEXEC);
        if (device < 0) return -1;
        using OwnedFd opened = new(device);
        return KvmCall.Control(device, UserFaultCalls.USERFAULTFD_IOC_NEW, (nuint)(O_CLOEXEC | O_NONBLOCK));
    }

    private static void Check(int result, string what)
    {
        if (result < 0) throw new KernelException(what, CallResult.LastError);
    }
}
