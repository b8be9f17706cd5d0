namespace Vmm.EndToEnd;

/// <summary>
/// A stock Debian kernel in QEMU (TCG: it runs wherever these tests do), whose devices are behind our sockets.
/// </summary>
internal sealed class QemuGuest : LinuxGuest
{
    /// <summary>For a kernel that QEMU emulates. On a busy host its timer is late enough for the kernel to call it broken: that says nothing of our devices.</summary>
    internal const string KernelOptions = "console=ttyS0 quiet panic=-1 no_timer_check";

    private const string Qemu = "/usr/bin/qemu-system-x86_64";

    /// <param name="tests">Scripts of tools/guest/tests to run, in order.</param>
    /// <param name="processors">Virtual CPUs.</param>
    /// <param name="devices">Arguments for QEMU: a chardev and a device for each socket.</param>
    internal QemuGuest(string tests, int processors, params string[] devices)
        : base(Qemu,
        [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-machine", "q35,accel=tcg", "-m", "256", "-smp", $"{processors}",
            "-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-numa", "node,memdev=memory",
            "-kernel", ImageFile("vmlinuz"), "-initrd", ImageFile("initramfs.gz"), "-append", $"{KernelOptions} vmm.tests={tests}", .. devices,
        ])
    {
    }

    /// <summary>A real guest is part of what the tests show: where QEMU is missing, tools/test.sh installs it.</summary>
    internal static void SkipIfMissing() => Assert.SkipUnless(File.Exists(Qemu), $"{Qemu} is not there: tools/test.sh installs it");

    /// <summary>A disk behind a socket. QEMU connects again, every second, when the other side goes.</summary>
    internal static string[] Disk(string socket, int queues, int queueSize = 128, bool packed = false) =>
        DiskAsAsked(socket, $",num-queues={queues},queue-size={queueSize},packed={(packed ? "on" : "off")}");

    /// <summary>A disk behind a socket, of which QEMU decides what it is not given: it asks for a queue for each processor.</summary>
    internal static string[] DiskAsAsked(string socket, string options = "") =>
        ["-chardev", $"socket,id=disk,path={socket},reconnect=1", "-device", $"vhost-user-blk-pci,chardev=disk{options}"];

    /// <summary>An entropy device behind a socket. QEMU 7.2 can't reconnect this one: it starts to speak before it has connected.</summary>
    internal static string[] Entropy(string socket) =>
        ["-chardev", $"socket,id=rng,path={socket}", "-device", "vhost-user-rng-pci,chardev=rng"];

    /// <summary>Sockets behind a socket. The guest's context id is the device's.</summary>
    internal static string[] Vsock(string socket) =>
        ["-chardev", $"socket,id=vsock,path={socket}", "-device", "vhost-user-vsock-pci,chardev=vsock"];

    /// <summary>A network card behind a socket. Without MSI-X: with it, QEMU 7.2 crashes over this device where it emulates the processor.</summary>
    internal static string[] Net(string socket, int queues, int mtu) =>
    [
        "-chardev", $"socket,id=net,path={socket},reconnect=1", "-netdev", $"vhost-user,id=net,chardev=net,queues={queues}",
        "-device", $"virtio-net-pci,netdev=net,mq={(queues > 1 ? "on" : "off")},vectors=0,host_mtu={mtu},romfile=",
    ];
}
