using System.Globalization;

namespace Vmm.EndToEnd;

/// <summary>
/// A guest whose Linux has switched its disk's cache off (<c>echo "write through" &gt; cache_type</c>) sends no flush any more, not even for fsync:
/// what it was told to be durable is so by each write. It does not switch again after a reboot, when its driver is bound anew, or when the server
/// behind the disk is another one.
/// </summary>
public sealed class CacheModeTests
{
    private const int DiskBytes = 8 << 20;

    [Fact]
    public void What_User_Mode_Linux_synced_is_durable_in_each_mode_after_its_driver_came_again_and_after_a_reboot()
    {
        UmlGuest.SkipIfMissing();
        MemoryStorage disk = new(DiskBytes);
        using FaultyFileSystem storage = new(disk);
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={storage.Path},socket={socket}");
        using UmlGuest guest = new("commands", UmlGuest.DiskAt(socket));
        Session session = new(guest, disk);
        session.SwitchOff();
        session.BindAnew("virtio0");
        session.Reboot();
        session.PowerOff();
    }

    [Fact]
    [Trait("Long", "true")]
    public void What_a_guest_of_QEMU_synced_is_durable_after_a_new_driver_a_reboot_and_a_new_server()
    {
        QemuGuest.SkipIfMissing();
        MemoryStorage disk = new(DiskBytes);
        using FaultyFileSystem storage = new(disk);
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        using RestartedVmm vmm = new([], $"listening blk {socket}", "serve", "--blk", $"path={storage.Path},socket={socket}");
        using QemuGuest guest = new("commands", processors: 1, [.. QemuGuest.Disk(socket, queues: 1), "-action", "reboot=reset"]);
        Session session = new(guest, disk);
        session.SwitchOff();
        vmm.KillAndStartAgain();
        session.AssertDurable();
        session.BindAnew("virtio0");
        session.Reboot();
        // QEMU answers its guest from its own copy, and the server has been another one since.
        Assert.True(vmm.WaitUntilInUse(guest));
        vmm.KillAndStartAgain();
        session.AssertDurable();
        session.Reboot();
        session.PowerOff();
    }

    /// <summary>A guest that does what it is asked, and the storage below its disk.</summary>
    private sealed class Session
    {
        private readonly LinuxGuest _guest;
        private readonly MemoryStorage _disk;
        private int _asked, _boots;

        internal Session(LinuxGuest guest, MemoryStorage disk)
        {
            (_guest, _disk) = (guest, disk);
            AwaitBoot();
            Assert.Equal("write back", Ask("cat /sys/block/vda/cache_type"));
            Write("oflag=direct");
            // Or the storage would be no judge.
            Assert.NotEqual(0, _disk.Dirty);
            AssertDurable();
        }

        internal void SwitchOff()
        {
            Ask("echo 'write through' >/sys/block/vda/cache_type; echo done");
            AssertWritesThrough();
        }

        internal void BindAnew(string device)
        {
            const string Driver = "/sys/bus/virtio/drivers/virtio_blk";
            Ask($"echo {device} >{Driver}/unbind; echo {device} >{Driver}/bind; until [ -b /dev/vda ]; do sleep 1; done; echo done");
            AssertWritesThrough();
        }

        internal void Reboot()
        {
            _guest.Say("reboot -f");
            AwaitBoot();
            AssertWritesThrough();
        }

        internal void PowerOff()
        {
            _guest.Say("done");
            string[] console = _guest.WaitForPowerOff();
            Assert.Contains("vmm-log clean", console);
        }

        /// <summary>What is written and synced is on the disk when the guest says so.</summary>
        internal void AssertDurable()
        {
            int number = Write("conv=fsync");
            Assert.Equal(0, _disk.Dirty);
            string text = string.Create(CultureInfo.InvariantCulture, $"number {number}");
            Assert.Equal(text, System.Text.Encoding.ASCII.GetString(_disk.Content, 4096, text.Length));
        }

        private void AssertWritesThrough()
        {
            Assert.Equal("write through", Ask("cat /sys/block/vda/cache_type"));
            AssertDurable();
        }

        private int Write(string options)
        {
            int number = _asked + 1;
            Ask($"echo number {number} >/tmp/text; truncate -s 4096 /tmp/text; dd if=/tmp/text of=/dev/vda bs=4096 seek=1 {options} 2>/dev/null; echo done");
            return number;
        }

        /// <returns>What the command printed in its first line.</returns>
        private string Ask(string command)
        {
            string mark = string.Create(CultureInfo.InvariantCulture, $"answer {++_asked}: ");
            _guest.Say($"echo \"{mark}$({command})\"");
            _guest.WaitForLine(mark);
            return _guest.Console.First(line => line.StartsWith(mark, StringComparison.Ordinal))[mark.Length..];
        }

        private void AwaitBoot()
        {
            _boots++;
            Assert.True(SpinWait.SpinUntil(() => _guest.Console.Count(line => line == "vmm-guest ready") == _boots || _guest.HasEnded, TimeSpan.FromMinutes(5)));
            Assert.False(_guest.HasEnded, string.Join('\n', _guest.Console));
        }
    }
}
