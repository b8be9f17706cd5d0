using System.Text;

namespace Vmm.Devices.Native;

/// <summary>The ioctl(2) requests of TAP interfaces (linux/if_tun.h; tuntap.rst of the kernel's documentation).</summary>
internal static unsafe partial class TunCalls
{
    internal const string Path = "/dev/net/tun";

    internal const short IFF_TAP = 0x0002;
    internal const short IFF_NO_PI = 0x1000;
    internal const short IFF_VNET_HDR = 0x4000;
    internal const short IFF_MULTI_QUEUE = 0x0100;
    internal const short IFF_ATTACH_QUEUE = 0x0200;
    internal const short IFF_DETACH_QUEUE = 0x0400;

    internal const uint TUN_F_CSUM = 0x01;
    internal const uint TUN_F_TSO4 = 0x02;
    internal const uint TUN_F_TSO6 = 0x04;
    internal const uint TUN_F_TSO_ECN = 0x08;
    internal const uint TUN_F_UFO = 0x10;
    internal const uint TUN_F_USO4 = 0x20;
    internal const uint TUN_F_USO6 = 0x40;

    internal const nuint SetInterface = 0x400454ca;
    internal const nuint SetOffload = 0x400454d0;
    internal const nuint SetHeaderLength = 0x400454d8;
    internal const nuint SetQueue = 0x400454d9;
    internal const nuint SetCarrier = 0x400454e2;

    /// <summary>Longest name, without its terminating zero (IFNAMSIZ).</summary>
    internal const int NameLengthMax = 15;

    /// <summary>Makes an open <see cref="Path"/> one of an interface's queues.</summary>
    private static Errno Attach(int fd, string name, short flags)
    {
        InterfaceRequest request = new() { Flags = flags };
        // SAFETY: the name was checked to fit by the caller, a shorter one is followed by zeros; the kernel reads and writes one struct
        // ifreq, a local.
        Encoding.UTF8.GetBytes(name, new Span<byte>(request.Name, NameLengthMax));
        return CallResult.Of(Control(fd, SetInterface, (nint)(&request)));
    }

    /// <summary>
    /// Opens <see cref="Path"/>, and makes it one of an interface's queues. If the interface has to be there, none is made.
    /// </summary>
    internal static OwnedFd? TryOpenQueue(string name, short flags, bool isThere, out Errno errno)
    {
        int number = FileCalls.Open(Path, FileCalls.O_RDWR | FileCalls.O_NONBLOCK | FileCalls.O_CLOEXEC);
        errno = CallResult.Of(number);
        if (number < 0) return null;
        OwnedFd queue = new(number);
        // Asked only where the device may be opened: it takes a socket, which other processes may not make.
        errno = isThere && IndexOf(name) == 0 ? Errno.NoDevice : Attach(number, name, flags);
        if (errno == Errno.None) return queue;
        queue.Dispose();
        return null;
    }

    /// <summary>Has a queue take part, or not.</summary>
    internal static Errno SetActive(int fd, bool active)
    {
        InterfaceRequest request = new() { Flags = active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };
        // SAFETY: as for Attach.
        return CallResult.Of(Control(fd, SetQueue, (nint)(&request)));
    }

    /// <summary>What the reader of the interface does not mind in a frame: TUN_F_ bits.</summary>
    internal static Errno SetOffloads(int fd, uint offloads) => CallResult.Of(Control(fd, SetOffload, (nint)offloads));

    /// <summary>Bytes of the virtio_net_hdr before each frame.</summary>
    internal static Errno SetHeader(int fd, int length) => SetInteger(fd, SetHeaderLength, length);

    /// <summary>Whether the interface sees a carrier.</summary>
    internal static Errno SetLink(int fd, bool up) => SetInteger(fd, SetCarrier, up ? 1 : 0);

    // SAFETY: the kernel reads one int, a local.
    private static Errno SetInteger(int fd, nuint request, int value) => CallResult.Of(Control(fd, request, (nint)(&value)));

    [LibraryImport("libc", EntryPoint = "if_nametoindex", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial uint IndexOf(string name);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int fd, nuint request, nint argument);

    /// <summary>struct ifreq (netdevice(7)), as far as TUNSETIFF and TUNSETQUEUE look at it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    internal struct InterfaceRequest
    {
        [FieldOffset(0)] internal fixed byte Name[NameLengthMax + 1];
        [FieldOffset(16)] internal short Flags;
    }
}
