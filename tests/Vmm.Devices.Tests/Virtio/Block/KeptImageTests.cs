using Vmm.Tests;

namespace Vmm.Devices.Tests;

/// <summary>An image that a disk makes of another one (<c>from=</c>), and which the next start takes as it is.</summary>
public sealed class KeptImageTests
{
    private const int Bytes = 4 << 20;

    [Fact]
    public void An_image_that_is_made_of_another_is_there_and_whole_after_a_power_cut()
    {
        string scratch = Directory.CreateTempSubdirectory("vmm-kept-").FullName;
        try
        {
            byte[] content = new byte[Bytes];
            new Random(1).NextBytes(content);
            string source = Path.Combine(scratch, "source"), device = Path.Combine(scratch, "device"), cut = Path.Combine(scratch, "cut");
            File.WriteAllBytes(source, content);
            File.WriteAllBytes(device, []);
            using (FileStream storage = File.OpenWrite(device)) storage.SetLength(32 << 20);
            using LoopDevice loop = new(device);
            HostCommand.Check("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", loop.Path);
            On(loop.Path, scratch, folder =>
            {
                RawImage.MakeOf(Path.Combine(folder, "image"), source, ImageLock.UnknownHolderWaitMax);
                // Another program's sync has the journal written, with every name so far.
                using FileStream other = File.Create(Path.Combine(folder, "other"));
                other.WriteByte(1);
                other.Flush(flushToDisk: true);
                // What the device has now is what it has after a power cut.
                File.Copy(device, cut);
            });
            using LoopDevice after = new(cut);
            On(after.Path, scratch, folder => Assert.True(content.AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(folder, "image")))));
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }
    }

    private static void On(string device, string scratch, Action<string> action)
    {
        string folder = Directory.CreateDirectory(Path.Combine(scratch, "mounted")).FullName;
        HostCommand.Check("mount", device, folder);
        try
        {
            action(folder);
        }
        finally
        {
            HostCommand.Check("umount", folder);
        }
    }
}
