using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>libvirt defines and starts a machine with our disk: the domain of docs/vhost-user.md, whose BIOS boots from it.</summary>
public sealed partial class LibvirtTests
{
    private const string Daemon = "/usr/sbin/libvirtd";
    private const string Greeting = "libvirt's machine read this from the disk";

    [Fact]
    [Tried("libvirt, with QEMU and SeaBIOS", "libvirt-daemon", "9.0.0", Devices = "disk", Result = "defines, starts, boots",
        HowTo = "`<disk type='vhostuser'>`: docs/vhost-user.md")]
    public void A_machine_with_our_disk_is_defined_started_and_boots_from_it()
    {
        QemuGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists(Daemon), $"{Daemon} is not there: tools/test.sh installs it");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "directories of its own need root");
        using ScratchDirectory scratch = new();
        string image = scratch.PathOf("disk.img"), socket = scratch.PathOf("vda.sock"), console = scratch.PathOf("console"), domain = scratch.PathOf("guest.xml");
        FirmwareTests.WriteBootDisk(image, Greeting);
        string xml = Domain().Match(File.ReadAllText(Repository.PathOf("docs/vhost-user.md"))).Groups[1].Value;
        Assert.Contains("type='vhostuser'", xml);
        // Where a machine has no KVM, QEMU emulates; the console is a file that this test reads.
        if (!File.Exists("/dev/kvm")) xml = xml.Replace("type='kvm'", "type='qemu'", StringComparison.Ordinal);
        File.WriteAllText(domain, xml.Replace("/run/vmm/vda.sock", socket, StringComparison.Ordinal)
            .Replace("<serial type='pty'/>", $"<serial type='file'><source path='{console}'/></serial>", StringComparison.Ordinal));
        using VmmProcess vmm = new("serve", "--blk", $"path={image},socket={socket}");
        vmm.WaitFor("listening blk");

        // A libvirt of its own: another one on this machine keeps its state, its sockets and its machines.
        File.WriteAllText(scratch.PathOf("run.sh"), Script(scratch.Path));
        using VmmProcess libvirt = VmmProcess.Of(["unshare", "--mount", "--propagation", "private", "sh", scratch.PathOf("run.sh"), domain]);
        libvirt.WaitFor("Domain 'guest' defined");
        libvirt.WaitFor("Domain 'guest' started");
        vmm.WaitFor("blk0: a front-end is connected");
        Assert.True(SpinWait.SpinUntil(() => File.Exists(console) && File.ReadAllText(console).Contains(Greeting, StringComparison.Ordinal), TimeSpan.FromMinutes(2)),
            $"the machine did not boot: {string.Join('\n', libvirt.Lines)}");
        libvirt.Input.WriteLine();
        libvirt.Input.Flush();
        libvirt.WaitFor("Domain 'guest' destroyed");
        Assert.Equal(0, libvirt.WaitForExit().ExitCode);
        vmm.WaitFor("blk0: the front-end left");
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    /// <summary>Directories of libvirt's own are laid over, its daemon runs as long as the script, and its QEMU as root.</summary>
    private static string Script(string scratch) => $$"""
        set -e
        for directory in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
          mkdir -p "$directory"
          mount -t tmpfs tmpfs "$directory"
        done
        mkdir -p /etc/libvirt/qemu
        # The user that it looks for at its start, whatever it is configured to use: Debian's libvirt-daemon-system makes it.
        for file in passwd group; do
          cp /etc/$file {{scratch}}/$file
          mount --bind {{scratch}}/$file /etc/$file
        done
        grep -q ^libvirt-qemu: /etc/passwd || echo libvirt-qemu:x:64055:65534::/:/bin/false >>/etc/passwd
        grep -q ^libvirt-qemu: /etc/group || echo libvirt-qemu:x:64055: >>/etc/group
        printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = "file"\n' >/etc/libvirt/qemu.conf
        libvirtd --pid-file {{scratch}}/pid >{{scratch}}/log 2>&1 &
        trap 'virsh -q destroy guest 2>/dev/null || :; kill $(cat {{scratch}}/pid) 2>/dev/null || :; wait' EXIT
        export LIBVIRT_DEFAULT_URI=qemu:///system
        for try in $(seq 600); do virsh -q list >/dev/null 2>&1 && break; kill -0 $! || break; sleep 0.1; done
        { virsh define "$1" && virsh start guest; } || { cat {{scratch}}/log; exit 1; }
        read answer
        virsh destroy guest
        """;

    [GeneratedRegex("<!-- domain -->\n```xml\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Domain();
}
