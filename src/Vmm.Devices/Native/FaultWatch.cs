using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// Protects mappings of shared memory against being written, and learns of each attempt (userfaultfd(2), UFFDIO_WRITEPROTECT). A thread
/// that writes waits in the kernel until the page is released, a processor of a guest too. Threads of the runtime must not write there: one
/// that waits in managed code keeps the collector waiting, and with it the thread that would release the page.
/// </summary>
internal sealed unsafe partial class FaultWatch : IDisposable
{
    private const string Name = "libc";
    private const string DevicePath = "/dev/userfaultfd";
    private const int UserfaultfdCall = 323;
    private const int O_CLOEXEC = 0x80000, O_NONBLOCK = 0x800;
    private const ulong Api = 0xaa;
    private const ulong FeaturesNeeded = 1 << 0 | 1 << 12; // UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFD_FEATURE_WP_HUGETLBFS_SHMEM
    private const ulong RegisterWriteProtect = 2, WriteProtect = 1;
    private const byte PageFault = 0x12;

    /// <summary>struct uffd_msg: the kind of event, and at 16 the address of a fault.</summary>
    private const int MessageBytes = 32, AddressOffset = 16;

    internal const uint USERFAULTFD_IOC_NEW = 0xaa00;
    internal const uint UFFDIO_API = 0xc018aa3f;
    internal const uint UFFDIO_REGISTER = 0xc020aa00;
    internal const uint UFFDIO_UNREGISTER = 0x8010aa01;
    internal const uint UFFDIO_WRITEPROTECT = 0xc018aa06;

    private readonly OwnedFd _fd;

    private FaultWatch(OwnedFd fd) => _fd = fd;

    /// <summary>Where it is opened, if the kernel has it there.</summary>
    internal static string Path => DevicePath;

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Call(nint number, nint flags);

    /// <summary>Opens one.</summary>
    /// <param name="refusal">Why there is none, in a sentence.</param>
    internal static FaultWatch? TryOpen(out string refusal)
    {
        refusal = "";
        int number = FromDevice();
        if (number < 0) number = (int)Call(UserfaultfdCall, O_CLOEXEC | O_NONBLOCK);
        if (number < 0)
        {
            refusal = $"this process may not open {DevicePath}: {KernelException.Describe((Errno)Marshal.GetLastPInvokeError())}";
            return null;
        }
        OwnedFd fd = new(number);
        UserFaultApi api = new() { Api = Api, Features = FeaturesNeeded };
        if (KvmCall.Control(number, UFFDIO_API, ref api) == 0) return new FaultWatch(fd);
        fd.Dispose();
        refusal = "this kernel does not protect shared memory by userfaultfd: Linux 5.19 does";
        return null;
    }

    /// <summary>Watches a mapping. Nothing of it is protected yet.</summary>
    internal void Register(nint start, ulong length)
    {
        UserFaultRange range = new() { Start = (ulong)start, Length = length, Mode = RegisterWriteProtect };
        Check(KvmCall.Control(_fd.Number, UFFDIO_REGISTER, ref range), "UFFDIO_REGISTER");
    }

    /// <summary>Releases all of a mapping, and watches it no more.</summary>
    internal void Unregister(nint start, ulong length)
    {
        // The end of a watch wakes those that wait for a page to be there, and not those that wait to write.
        Protect(start, length, isProtected: false);
        UserFaultProtect range = new() { Start = (ulong)start, Length = length };
        Check(KvmCall.Control(_fd.Number, UFFDIO_UNREGISTER, ref range), "UFFDIO_UNREGISTER");
    }

    /// <summary>Protects pages of a mapping that is watched, or releases them and wakes the threads that wait.</summary>
    internal void Protect(nint start, ulong length, bool isProtected)
    {
        UserFaultProtect range = new() { Start = (ulong)start, Length = length, Mode = isProtected ? WriteProtect : 0 };
        Check(KvmCall.Control(_fd.Number, UFFDIO_WRITEPROTECT, ref range), "UFFDIO_WRITEPROTECT");
    }

    /// <summary>Takes the next attempts to write.</summary>
    /// <param name="addresses">Gets where.</param>
    /// <returns>How many; 0 if there is none.</returns>
    internal int Read(Span<ulong> addresses)
    {
        byte* messages = stackalloc byte[MessageBytes * addresses.Length];
        // SAFETY: the kernel writes whole messages into the room on this stack, and says how many bytes.
        Span<byte> room = new(messages, MessageBytes * addresses.Length);
        PollEntry entry = new() { Fd = _fd.Number, Events = SocketCalls.POLLIN };
        if (SocketCalls.Poll(&entry, 1, 0) <= 0) return 0;
        int read = FaultRead(room), count = 0;
        for (int at = 0; at + MessageBytes <= read; at += MessageBytes)
        {
            if (room[at] == PageFault) addresses[count++] = BinaryPrimitives.ReadUInt64LittleEndian(room[(at + AddressOffset)..]);
        }
        return count;
    }

    public void Dispose() => _fd.Dispose();

    [LibraryImport(Name, EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, byte* bytes, nuint count);

    private int FaultRead(Span<byte> room)
    {
        // SAFETY: the kernel writes at most as many bytes as the pinned span has.
        fixed (byte* first = room) return (int)Read(_fd.Number, first, (nuint)room.Length);
    }

    private static int FromDevice()
    {
        int device = FileCalls.Open(DevicePath, FileCalls.O_RDWR | FileCalls.O_CLOEXEC);
        if (device < 0) return -1;
        using OwnedFd opened = new(device);
        return KvmCall.Control(device, USERFAULTFD_IOC_NEW, (nuint)(O_CLOEXEC | O_NONBLOCK));
    }

    private static void Check(int result, string what)
    {
        if (result < 0) throw new KernelException(what, KvmCall.LastError);
    }
}

/// <summary>struct uffdio_api.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultApi
{
    internal ulong Api;
    internal ulong Features;
    internal ulong Ioctls;
}

/// <summary>struct uffdio_register.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultRange
{
    internal ulong Start;
    internal ulong Length;
    internal ulong Mode;
    internal ulong Ioctls;
}

/// <summary>struct uffdio_writeprotect; without its mode, struct uffdio_range.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultProtect
{
    internal ulong Start;
    internal ulong Length;
    internal ulong Mode;
}
