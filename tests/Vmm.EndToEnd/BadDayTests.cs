using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>The operator's mistakes and the host's bad days: one sentence, exit code 1, nothing broken.</summary>
public sealed class BadDayTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void No_such_image() => AssertRefused("/no/such/disk.img", "no such file");

    // A socket's path beyond 107 bytes is refused in a sentence, whatever it is for.
    [Theory]
    [InlineData("serve", "--rng", "socket=PATH")]
    [InlineData("serve", "--blk", "path=IMAGE,socket=PATH")]
    [InlineData("serve", "--console", "socket=PATH,pty")]
    [InlineData("serve", "--console", "socket=s,uds=PATH")]
    [InlineData("serve", "--vsock", "socket=PATH,cid=3,uds=base")]
    [InlineData("run", "--console", "uds=PATH", "--exec", "poweroff")]
    [InlineData("run", "--balloon", "control=PATH", "--exec", "poweroff")]
    [InlineData("run", "--net", "socket=PATH", "--exec", "poweroff")]
    [InlineData("bench", "vhost-user-blk", "--socket", "PATH")]
    public void A_socket_path_that_is_too_long(params string[] arguments)
    {
        using ScratchDirectory directory = new();
        string image = directory.PathOf("disk.img");
        File.WriteAllBytes(image, new byte[4096]);
        string path = directory.PathOf(new string('x', 100));
        VmmResult result = VmmProcess.Run([.. arguments.Select(argument => argument.Replace("PATH", path).Replace("IMAGE", image).Replace("socket=s,", $"socket={directory.PathOf("s")},"))]);
        Assert.True(result.ExitCode is 1 or 2, $"exit {result.ExitCode}: {result.Error}");
        Assert.Contains("107", result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }

    [Fact]
    public void A_file_where_a_network_socket_should_be_is_left_alone()
    {
        using ScratchDirectory directory = new();
        string file = directory.PathOf("precious");
        File.WriteAllText(file, "not a socket");
        VmmResult result = VmmProcess.Run("run", "--net", $"socket={file}", "--exec", "poweroff");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("it is no socket", result.Error);
        Assert.Equal("not a socket", File.ReadAllText(file));
    }

    [Fact]
    public void A_directory_is_no_image() => AssertRefused(Path.GetTempPath(), "directory");

    [Fact]
    public void An_empty_image_holds_no_sector()
    {
        using ScratchDirectory scratch = new();
        AssertRefused(scratch.CreateImage("empty.img", 0), "empty");
    }

    [Fact]
    public void A_size_that_is_not_whole_sectors()
    {
        using ScratchDirectory scratch = new();
        AssertRefused(scratch.CreateImage("odd.img", 1000), "512");
    }

    [Fact]
    public void An_image_we_may_not_open()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("secret.img", MiB);
        File.SetUnixFileMode(image, UnixFileMode.None);
        AssertSentence(VmmProcess.RunWithoutCapabilities("run", "--disk", image, "--exec", "poweroff"), "permission");
    }

    [Fact]
    public void The_same_image_twice_under_two_names()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", MiB);
        string link = scratch.PathOf("link.img");
        File.CreateSymbolicLink(link, image);
        AssertSentence(VmmProcess.Run("run", "--disk", image, "--disk", link, "--exec", "poweroff"), "link.img");
    }

    [Fact]
    public void A_full_host_disk_is_an_error_in_the_guest_and_the_host_lives()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a small file system can be mounted by root only");
        using ScratchDirectory scratch = new();
        string mount = scratch.PathOf("small");
        Directory.CreateDirectory(mount);
        Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount);
        try
        {
            string image = Path.Combine(mount, "disk.img");
            using (FileStream file = new(image, FileMode.Create)) file.SetLength(16 * MiB);
            VmmResult result = VmmProcess.Run("run", "--disk", image, "--exec", "fill vda 1; lsdev; read vda 0 4; poweroff");
            Assert.Equal(1, result.ExitCode);
            Assert.Contains("I/O error", result.Output);
            Assert.Contains("vda", result.Output);
            Assert.DoesNotContain("   at ", result.Error);
        }
        finally
        {
            Command("umount", mount);
        }
    }

    [Fact]
    public void An_interrupt_in_the_middle_of_fill_stops_cleanly_and_tears_no_sector()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("disk.img", 256 * MiB, sparse: true);
        string filled = scratch.CreateImage("filled.img", 256 * MiB, sparse: true);
        Assert.Equal(0, VmmProcess.Run("run", "--disk", filled, "--exec", "fill vda 9; poweroff", "--vcpus", "4").ExitCode);
        byte[] before = File.ReadAllBytes(image);

        using VmmProcess vmm = new("run", "--disk", image, "--vcpus", "4", "--exec", "lsdev; fill vda 9; fill vda 9; fill vda 9; fill vda 9; poweroff");
        vmm.Input.Close();
        vmm.WaitFor("vda");
        // The first sector alone: to read the whole image takes as long as to fill it.
        byte[] first = new byte[512];
        using (FileStream disk = new(image, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0))
        {
            SpinWait.SpinUntil(() =>
            {
                disk.Position = 0;
                disk.ReadExactly(first);
                return !first.AsSpan().SequenceEqual(before.AsSpan(0, first.Length));
            }, TimeSpan.FromSeconds(30));
        }
        vmm.Signal("INT");
        VmmResult result = vmm.WaitForExit();
        Assert.NotEqual(0, result.ExitCode);
        Assert.DoesNotContain("   at ", result.Error);

        byte[] after = File.ReadAllBytes(image);
        byte[] whole = File.ReadAllBytes(filled);
        for (int at = 0; at < after.Length; at += 512)
        {
            ReadOnlySpan<byte> sector = after.AsSpan(at, 512);
            Assert.True(sector.SequenceEqual(before.AsSpan(at, 512)) || sector.SequenceEqual(whole.AsSpan(at, 512)), $"torn sector at {at}");
        }
    }

    private static void AssertRefused(string image, string word) =>
        AssertSentence(VmmProcess.Run("run", "--disk", image, "--exec", "poweroff"), word);

    private static void AssertSentence(VmmResult result, string word)
    {
        Assert.Equal(1, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains(word, result.Error, StringComparison.OrdinalIgnoreCase);
    }

    private static void Command(string name, params string[] arguments)
    {
        using Process process = Process.Start(name, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
