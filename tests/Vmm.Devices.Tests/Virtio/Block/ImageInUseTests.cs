using System.Diagnostics;

namespace Vmm.Devices.Tests;

/// <summary>An image that this host uses already is not taken for writing: a mount, a loop device, QEMU.</summary>
[Collection(Alone.Name)]
public sealed class ImageInUseTests : IDisposable
{
    private readonly ScratchImage _scratch = new(16 << 20);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_mounted_block_device_is_taken_for_reading_only()
    {
        using LoopDevice loop = new(_scratch.Path);
        HostCommand.Check("mkfs.ext4", "-q", loop.Path);
        string directory = Directory.CreateTempSubdirectory("vmm-mounted-").FullName;
        HostCommand.Check("mount", loop.Path, directory);
        try
        {
            Refused(loop.Path, "is in use on this host: unmount it");
            using RawImage reader = RawImage.Open(loop.Path, readOnly: true);
        }
        finally
        {
            HostCommand.Check("umount", directory);
            Directory.Delete(directory);
        }
        using RawImage writer = RawImage.Open(loop.Path);
        // And the other way round: the host does not mount what a guest writes to.
        Assert.NotEqual(0, HostCommand.Run("mount", loop.Path, Path.GetTempPath()).Code);
        Refused(loop.Path, "is in use on this host");
    }

    [Fact]
    public void A_block_device_goes_past_the_page_cache_and_is_ours_alone()
    {
        using LoopDevice loop = new(_scratch.Path);
        using (RawImage direct = RawImage.Open(loop.Path, direct: true)) Refused(loop.Path, "is in use on this host");
        using RawImage again = RawImage.Open(loop.Path);
    }

    [Fact]
    public void A_file_behind_a_loop_device_is_taken_for_reading_only_and_the_device_for_writing()
    {
        using (LoopDevice loop = new(_scratch.Path))
        {
            Refused(_scratch.Path, $"is in use by {loop.Path} of this host: detach that");
            using RawImage reader = RawImage.Open(_scratch.Path, readOnly: true);
            reader.Dispose();
            using RawImage writer = RawImage.Open(loop.Path);
        }
        using RawImage image = RawImage.Open(_scratch.Path);
    }

    [Fact]
    public void What_QEMU_writes_is_not_taken_and_what_it_reads_is_read()
    {
        using (OpenInQemu writer = new(_scratch.Path, readOnly: false))
        {
            Assert.True(writer.HasIt, writer.Said);
            Refused(_scratch.Path, $"is in use by process {writer.ProcessId} (qemu-io)");
            Refused(_scratch.Path, $"is in use by process {writer.ProcessId} (qemu-io)", readOnly: true);
        }
        using OpenInQemu reader = new(_scratch.Path, readOnly: true);
        Assert.True(reader.HasIt, reader.Said);
        Refused(_scratch.Path, "is in use by process");
        using RawImage ours = RawImage.Open(_scratch.Path, readOnly: true);
    }

    [Fact]
    public void QEMU_does_not_take_what_is_written_here_and_reads_what_is_read_here()
    {
        using (RawImage writer = RawImage.Open(_scratch.Path))
        {
            foreach (bool readOnly in (bool[])[false, true])
            {
                using OpenInQemu refused = new(_scratch.Path, readOnly);
                Assert.False(refused.HasIt);
                Assert.Contains("lock", refused.Said, StringComparison.Ordinal);
            }
        }
        using RawImage reader = RawImage.Open(_scratch.Path, readOnly: true);
        using OpenInQemu other = new(_scratch.Path, readOnly: true);
        Assert.True(other.HasIt, other.Said);
        using OpenInQemu qemuWriter = new(_scratch.Path, readOnly: false);
        Assert.False(qemuWriter.HasIt);
    }

    private static void Refused(string path, string sentence, bool readOnly = false)
    {
        DiskImageException refusal = Assert.Throws<DiskImageException>(() => RawImage.Open(path, readOnly));
        Assert.Contains(sentence, refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refusal.Message);
    }

    /// <summary>An image opened by QEMU's block layer, until this is disposed.</summary>
    private sealed class OpenInQemu : IDisposable
    {
        private readonly Process _process;

        internal OpenInQemu(string path, bool readOnly)
        {
            string[] arguments = readOnly ? ["-f", "raw", "-r", path] : ["-f", "raw", path];
            _process = Process.Start(new ProcessStartInfo("qemu-io", arguments)
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            _process.StandardInput.WriteLine("length");
            _process.StandardInput.Flush();
            // The prompt is on the line of the answer.
            string? line = _process.StandardOutput.ReadLine();
            HasIt = line is not null && line.Contains("16 MiB", StringComparison.Ordinal);
            Said = HasIt ? "" : line + _process.StandardError.ReadToEnd();
        }

        internal bool HasIt { get; }

        internal string Said { get; }

        internal int ProcessId => _process.Id;

        public void Dispose()
        {
            _process.StandardInput.Close();
            _process.WaitForExit();
            _process.Dispose();
        }
    }
}
