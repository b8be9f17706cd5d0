using System.Diagnostics;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests;

[Collection(Alone.Name)]
public sealed class RawImageTests
{
    [Fact]
    public void An_image_knows_its_size_and_is_locked_while_it_is_open()
    {
        using ScratchImage scratch = new(1 << 20);
        using (RawImage image = RawImage.Open(scratch.Path))
        {
            Assert.Equal(1u << 20, image.CapacityBytes);
            Refused(scratch.Path, "is in use by another disk of this process: close that one");
            Refused(scratch.Path, "is in use by another disk of this process: close that one", readOnly: true);
        }
        using RawImage again = RawImage.Open(scratch.Path);
    }

    [Fact]
    public async Task An_image_that_is_being_let_go_is_waited_for()
    {
        using ScratchImage scratch = new(512);
        RawImage dying = RawImage.Open(scratch.Path);
        Task<RawImage> opening = Task.Run(() => RawImage.Open(scratch.Path), TestContext.Current.CancellationToken);
        Assert.False(opening.IsCompleted);
        dying.Dispose();
        using RawImage opened = await opening;
    }

    [Fact]
    public void Who_has_an_image_is_found_while_it_shows()
    {
        using ScratchImage scratch = new(512);
        using OwnedFd asking = new(FileCalls.Open(scratch.Path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC));
        Assert.Null(LockHolder.Find(asking.Number));
        OwnedFd held = new(FileCalls.Open(scratch.Path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC));
        Assert.Equal(Errno.None, ImageLock.Acquire(held, exclusive: true, ImageLock.UnknownHolderWaitMax, out _));
        Assert.Equal(Environment.ProcessId, LockHolder.Find(asking.Number)?.ProcessId);

        // As after a kill: the file is in the kernel's hands only, on its way through a socket.
        (UnixSocket way, UnixSocket end) = UnixSocket.Pair();
        using (way)
        using (end)
        {
            Assert.Equal(1, way.Send([1], [held.Number], out _));
            held.Dispose();
            Assert.Equal(Errno.Again, ImageLock.TryLock(asking.Number, exclusive: true));
            Assert.Null(LockHolder.Find(asking.Number));
        }
        Assert.Equal(Errno.None, ImageLock.Acquire(asking, exclusive: true, ImageLock.UnknownHolderWaitMax, out _));
    }

    [Fact]
    public void Readers_share_an_image_and_keep_writers_out()
    {
        using ScratchImage scratch = new(512);
        using RawImage first = RawImage.Open(scratch.Path, readOnly: true);
        using RawImage second = RawImage.Open(scratch.Path, readOnly: true);
        Assert.Equal(first.Identity, second.Identity);
        Refused(scratch.Path, "is in use by another disk of this process: close that one");
    }

    [Fact]
    public void A_program_that_is_started_meanwhile_does_not_inherit_an_image()
    {
        using ScratchImage scratch = new(1 << 20);
        using RawImage image = RawImage.Open(scratch.Path, direct: true);
        Assert.DoesNotContain(scratch.Path, HostCommand.Check("ls", "-l", "/proc/self/fd"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_image_is_told_with_what_to_do() =>
        Refused("/tmp/vmm-no-such-image", "disk image '/tmp/vmm-no-such-image': no such file: correct the path, or make one with truncate -s 1G");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_directory_is_told(bool readOnly) => Refused("/tmp", "disk image '/tmp' is a directory: name a file", readOnly);

    [Fact]
    public void A_file_system_without_direct_access_is_told() =>
        Assert.Equal("disk image '/proc/self/maps' cannot be opened past the page cache: its file system has no O_DIRECT: leave out 'direct', or move the image",
            Assert.Throws<DiskImageException>(() => RawImage.Open("/proc/self/maps", readOnly: true, direct: true)).Message);

    [Fact]
    public void An_empty_image_is_told()
    {
        using ScratchImage scratch = new(0);
        Refused(scratch.Path, "is empty: give it a size");
    }

    [Fact]
    public void A_size_that_is_not_whole_sectors_is_told()
    {
        using ScratchImage scratch = new(1000);
        Refused(scratch.Path, $"disk image '{scratch.Path}' is 1000 bytes: not a multiple of the 512-byte sector");
    }

    [Fact]
    public void What_is_neither_file_nor_disk_is_told_and_not_waited_for()
    {
        Refused("/dev/null", "is neither a regular file nor a block device");
        string pipe = Path.Combine(Path.GetTempPath(), $"vmm-test-{Guid.NewGuid():n}.pipe");
        using (Process make = Process.Start("mkfifo", pipe)) make.WaitForExit();
        try
        {
            Refused(pipe, "is neither a regular file nor a block device");
            Refused(pipe, "is neither a regular file nor a block device", readOnly: true);
        }
        finally
        {
            File.Delete(pipe);
        }
    }

    [Fact]
    public void A_file_system_that_can_not_be_written_is_told()
    {
        // sysfs refuses even root.
        Refused("/sys/kernel/notes", "cannot be opened for writing: Permission denied: change its permissions, or attach it read-only");
    }

    private static void Refused(string path, string sentence, bool readOnly = false)
    {
        DiskImageException refusal = Assert.Throws<DiskImageException>(() => RawImage.Open(path, readOnly));
        Assert.Contains(sentence, refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refusal.Message);
    }
}
