using System.Globalization;
using System.Text;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// A command line of QEMU for devices that are served here, to paste into a shell: what QEMU's manual pages and docs/vhost-user.md
/// say of memory, sockets and devices, put together.
/// </summary>
internal static class QemuCommand
{
    /// <summary>What a shell leaves alone, beside letters and digits.</summary>
    private const string Plain = "_-./,=:+@";

    /// <summary>The command, on several lines; devices that QEMU has no front-end for are comments above it.</summary>
    internal static string For(IReadOnlyList<RequestedDevice> devices)
    {
        StringBuilder comments = new();
        List<string> lines =
        [
            "qemu-system-x86_64 -nodefaults -display none -serial mon:stdio -machine q35,accel=kvm:tcg,memory-backend=ram -smp 2 -m 1G",
            "-object memory-backend-memfd,id=ram,size=1G,share=on",
        ];
        foreach (RequestedDevice device in devices)
        {
            if (device.Socket!.Descriptor is not null)
                comments.Append(CultureInfo.InvariantCulture, $"# {device.Name}: its socket has no path\n");
            else if (DeviceOf(device) is { } option) lines.Add($"{ChardevOf(device)} {option}");
            else comments.Append(CultureInfo.InvariantCulture, $"# {device.Name}: QEMU 7.2 has no device for this kind\n");
        }
        return $"{comments}{string.Join(" \\\n  ", lines)}\n";
    }

    private static string ChardevOf(RequestedDevice device)
    {
        // QEMU 7.2 connects again to disks and network cards; an entropy device it starts to use before it has connected.
        string again = device.Spec is DiskSpec or NetSpec ? ",reconnect=1" : "";
        string path = Path.GetFullPath(device.Socket!.Path).Replace(",", ",,", StringComparison.Ordinal);
        return $"-chardev {Quoted($"socket,id={device.Name},path={path}{again}")}";
    }

    private static string? DeviceOf(RequestedDevice device) => device.Spec switch
    {
        DiskSpec => $"-device vhost-user-blk-pci,chardev={device.Name}",
        EntropySpec => $"-device vhost-user-rng-pci,chardev={device.Name}",
        VsockSpec => $"-device vhost-user-vsock-pci,chardev={device.Name}",
        NetSpec net => string.Create(CultureInfo.InvariantCulture,
            $"-netdev vhost-user,id={device.Name}-peer,chardev={device.Name},queues={net.QueuePairs} "
            + $"-device virtio-net-pci,netdev={device.Name}-peer{NetOptions(net)}"),
        _ => null,
    };

    /// <summary>What QEMU shows its guest in the back-end's stead.</summary>
    private static string NetOptions(NetSpec net) => string.Concat((IEnumerable<string>)
    [
        net.QueuePairs > 1 ? ",mq=on" : "",
        net.Mac is { } mac ? $",mac={mac}" : "",
        net.Mtu is { } mtu ? string.Create(CultureInfo.InvariantCulture, $",host_mtu={mtu}") : "",
    ]);

    /// <summary>A word of a shell's command line.</summary>
    private static string Quoted(string word) => word.All(letter => char.IsAsciiLetterOrDigit(letter) || Plain.Contains(letter)) ? word
        : $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
