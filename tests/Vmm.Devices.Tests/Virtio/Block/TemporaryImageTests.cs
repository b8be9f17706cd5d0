using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>Disks whose writes are dropped at the end.</summary>
[Collection(Alone.Name)]
public sealed class TemporaryImageTests
{
    [Fact]
    public void What_is_written_is_read_again_and_never_reaches_the_image()
    {
        using ScratchImage scratch = new(4 << 20);
        byte[] before = BlockGuest.Pattern(4096), after = BlockGuest.Pattern(8192)[4096..];
        WriteAt(scratch.Path, 1 << 20, before);
        using (SimulatedGuest guest = Guest(scratch.Path))
        {
            Assert.Equal(before, Read(guest));
            DriverRequest write = guest.Queue(0).Write((1 << 20) / 512, after);
            guest.Kick(0).RunUntil(() => write.IsUsed);
            Assert.Equal(BlockStatus.Ok, write.Status());
            Assert.Equal(after, Read(guest));
        }
        using SimulatedGuest next = Guest(scratch.Path);
        Assert.Equal(before, Read(next));
    }

    [Fact]
    public void Many_machines_have_the_same_image_and_only_its_data_is_copied()
    {
        using ScratchImage scratch = new(1 << 30);
        WriteAt(scratch.Path, 512 << 20, BlockGuest.Pattern(64 * 1024));
        RawImage[] copies = [.. Enumerable.Range(0, 4).Select(_ => RawImage.OpenTemporary(scratch.Path))];
        // Another may write it, for whom the copies do not count.
        RawImage.Open(scratch.Path).Dispose();
        Assert.All(copies, copy => Assert.InRange(copy.CopiedBytes, 0, 1 << 20));
        Assert.All(copies, copy => Assert.Equal(1u << 30, copy.CapacityBytes));
        Array.ForEach(copies, copy => copy.Dispose());
    }

    [Fact]
    public void An_image_that_is_written_is_not_copied()
    {
        using ScratchImage scratch = new(1 << 20);
        using RawImage writer = RawImage.Open(scratch.Path);
        DiskImageException refused = Assert.Throws<DiskImageException>(() => RawImage.OpenTemporary(scratch.Path));
        Assert.Contains("is in use by another disk of this process", refused.Message);
    }

    [Theory]
    [InlineData("/nowhere/at-all.img", "no such file")]
    [InlineData("/tmp", "is a directory: name a file")]
    [InlineData("/dev/null", "is neither a regular file nor a block device")]
    public void What_is_no_file_is_refused_in_the_usual_words(string path, string why) =>
        Assert.Contains(why, Assert.Throws<DiskImageException>(() => RawImage.OpenTemporary(path)).Message);

    [Theory]
    [InlineData("null:1M,temporary", "is no file, of which a copy could be made")]
    [InlineData("disk.img,ro,temporary", "leave out 'temporary' or 'ro'")]
    public void A_disk_that_makes_no_sense_is_refused(string text, string why) =>
        Assert.Contains(DiskSpec.Parse(text).Failures("vda"), failure => failure.Contains(why, StringComparison.Ordinal));

    [Fact]
    public void A_copy_that_finds_no_room_is_refused_in_a_sentence_and_leaves_nothing()
    {
        const long MoreThanAnyFile = 1L << 62;
        using ScratchImage scratch = new(4096);
        using OwnedFd file = new(FileCalls.Open(scratch.Path, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC));
        DiskImageException refused = Assert.Throws<DiskImageException>(() => TemporaryCopy.Of(scratch.Path, file, MoreThanAnyFile));
        Assert.Contains("cannot be copied for temporary use", refused.Message);
    }

    [Fact]
    public void A_copy_of_which_data_cannot_be_found_is_refused_and_not_left_empty()
    {
        // A socket has no data that could be sought.
        (OwnedFd a, OwnedFd b) = UnixSocket.DatagramPair();
        using (a)
        using (b)
        {
            DiskImageException refused = Assert.Throws<DiskImageException>(() => TemporaryCopy.Of("/tmp/disk.img", a, 4096));
            Assert.Contains("cannot find its data", refused.Message);
        }
    }

    private static SimulatedGuest Guest(string path) => SimulatedGuest.For(new DiskSpec { Path = path, Temporary = true }.Open("vda"));

    private static byte[] Read(SimulatedGuest guest)
    {
        DriverRequest read = guest.Queue(0).Read((1 << 20) / 512, 8);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.Ok, read.Status());
        return read.Data();
    }

    private static void WriteAt(string path, long at, byte[] data)
    {
        using FileStream file = new(path, FileMode.Open);
        file.Position = at;
        file.Write(data);
    }
}
