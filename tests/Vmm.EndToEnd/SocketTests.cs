using System.Diagnostics;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>The sockets of <c>vmm serve</c>: who may connect, sockets of other processes, and QEMU's conventions for back-end programs.</summary>
public sealed class SocketTests
{
    private const int MiB = 1 << 20;
    private const string Group = "kvm", Stranger = "nogroup";

    /// <summary>A program that listens at a path, or makes a pair, and executes another with one end as descriptor 7.</summary>
    private const string PassListening = "import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
        + "os.dup2(s.fileno(),7); os.execvp(sys.argv[2],sys.argv[2:])";

    [Theory]
    [InlineData("mode=0660,group=kvm", "660", Group)]
    [InlineData("mode=0600", "600", null)]
    [InlineData("mode=0666", "666", null)]
    [InlineData("socket-group=kvm", "600", Group)]
    public void A_socket_has_the_mode_and_the_group_that_are_asked_for(string access, string mode, string? group)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root gives files to any group");
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("s");
        // A mask that would take the group's right away, had it a say.
        using VmmProcess vmm = new(["sh", "-c", "umask 077; exec \"$@\"", "sh"],
            ["serve", "--blk", $"path={scratch.CreateImage("d", MiB)},socket={socket},{access}"]);
        vmm.WaitFor("listening blk");
        string own = Shell.Run("id", "-gn").Trim();
        Assert.Equal($"{mode} root {group ?? own}", Shell.Run("stat", "-c", "%a %U %G", socket).Trim());
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public void A_member_of_the_group_connects_and_another_user_does_not()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root becomes other users");
        using ScratchDirectory scratch = new();
        File.SetUnixFileMode(scratch.Path, (UnixFileMode)0b111_101_101);
        string socket = scratch.PathOf("s");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("d", MiB)},socket={socket},mode=0660,group={Group}");
        vmm.WaitFor("listening blk");
        Assert.Equal(0, Connect(Group));
        Assert.NotEqual(0, Connect(Stranger));

        int Connect(string group) => Shell.Try("setpriv", "--reuid=nobody", $"--regid={group}", "--clear-groups",
            "/usr/bin/python3", "-c", "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", socket).ExitCode;
    }

    [Fact]
    public void The_limits_group_and_the_sockets_are_told_apart_by_where_they_stand()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root gives files to any group");
        using ScratchDirectory scratch = new();
        string a = scratch.PathOf("a"), b = scratch.PathOf("b");
        using VmmProcess vmm = new("serve", "--blk", $"path={scratch.CreateImage("da", MiB)},socket={a},mode=0660,group={Group},limit=iops=50,limit=group=slow",
            "--blk", $"path={scratch.CreateImage("db", MiB)},group=slow,socket={b},mode=0660");
        vmm.WaitFor($"listening blk {b}");
        Assert.Equal(Group, Shell.Run("stat", "-c", "%G", a).Trim());
        Assert.NotEqual(Group, Shell.Run("stat", "-c", "%G", b).Trim());
    }

    [Theory]
    [InlineData("socket=S,mode=0400", "from 0600 to 0777")]
    [InlineData("socket=S,mode=1660", "from 0600 to 0777")]
    [InlineData("socket=S,mode=rw", "from 0600 to 0777")]
    [InlineData("fd=2", "3 or more")]
    [InlineData("fd=many", "3 or more")]
    [InlineData("fd=7,mode=0660", "leave out socket, mode and group")]
    [InlineData("fd=7,socket=S", "leave out socket, mode and group")]
    [InlineData("fd=7", "was not started with that descriptor")]
    public void What_makes_no_sense_of_a_socket_is_a_usage_error(string text, string sentence)
    {
        using ScratchDirectory scratch = new();
        VmmResult result = VmmProcess.Run("serve", "--rng", text.Replace("S", scratch.PathOf("s")));
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(sentence, result.Error);
        Assert.Empty(Directory.GetFileSystemEntries(scratch.Path));
    }

    [Fact]
    public void A_group_that_is_not_there_or_not_ours_to_give_is_refused_in_a_sentence()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("d", MiB), socket = scratch.PathOf("s");
        VmmResult none = VmmProcess.Run("serve", "--blk", $"path={image},socket={socket},group=no-such-group");
        Assert.Equal(1, none.ExitCode);
        Assert.Contains("this host has no group 'no-such-group'", none.Error);
        Assert.False(File.Exists(socket));
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a user without rights is made by root");
        File.SetUnixFileMode(scratch.Path, (UnixFileMode)0b111_111_111 | UnixFileMode.StickyBit);
        File.SetUnixFileMode(image, (UnixFileMode)0b110_110_110);
        using VmmProcess poor = new(["setpriv", "--reuid=nobody", $"--regid={Stranger}", "--clear-groups"],
            ["serve", "--blk", $"path={image},socket={socket},group={Group}"]);
        VmmResult refused = poor.WaitForExit();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("only root may give it to any group", refused.Error);
        Assert.False(File.Exists(socket));
    }

    [Theory]
    [InlineData("--blk", "path=IMAGE,fd=7")]
    [InlineData("--blk-file", "IMAGE", "--fd", "7")]
    public void A_listening_descriptor_of_another_program_is_served(params string[] device)
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("d", 4 * MiB), socket = scratch.PathOf("s");
        using VmmProcess vmm = new(["/usr/bin/python3", "-c", PassListening, socket], ["serve", .. device.Select(word => word.Replace("IMAGE", image))]);
        vmm.WaitFor("listening blk fd 7");
        VmmResult load = VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--rw", "randrw", "--verify", "--seconds", "1");
        Assert.True(load.ExitCode == 0, load.Error);
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        // The path belongs to the program that made it.
        Assert.True(File.Exists(socket));
    }

    [Fact]
    public void A_connected_descriptor_is_the_only_front_end_and_its_end_is_the_programs()
    {
        using ScratchDirectory scratch = new();
        string image = scratch.CreateImage("d", 4 * MiB);
        // Starts the tool with one end of a pair, asks for the features of the disk by the other end, and hangs up.
        const string Manager = """
            import os, socket, struct, subprocess, sys
            ours, theirs = socket.socketpair(socket.AF_UNIX)
            os.dup2(theirs.fileno(), 7)
            tool = subprocess.Popen(sys.argv[1:], pass_fds=[7])
            theirs.close(); os.close(7)
            ours.sendall(struct.pack('<III', 1, 1, 0))
            request, flags, size, features = struct.unpack('<IIIQ', ours.recv(20, socket.MSG_WAITALL))
            print(f'features {request} {bool(features & (1 << 32))}', flush=True)
            ours.close()
            sys.exit(tool.wait())
            """;
        using VmmProcess vmm = new(["/usr/bin/python3", "-c", Manager], ["serve", "--blk-file", image, "--fd", "7", "--read-only"]);
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Contains("features 1 True", result.Output);
        Assert.Contains("blk0: a front-end is connected", result.Error);
    }

    [Fact]
    public void The_capabilities_are_those_of_QEMUs_convention_and_what_is_installed_finds_the_program()
    {
        VmmResult printed = VmmProcess.Run("serve", "--print-capabilities");
        Assert.Equal((0, ""), (printed.ExitCode, printed.Error));
        using JsonDocument capabilities = JsonDocument.Parse(printed.Output);
        Assert.Equal("block", capabilities.RootElement.GetProperty("type").GetString());
        Assert.Equal(["blk-file", "read-only"], capabilities.RootElement.GetProperty("features").EnumerateArray().Select(each => each.GetString()));
        // What QEMU's docs/interop/vhost-user.json asks of a file in /usr/share/qemu/vhost-user.
        using JsonDocument installed = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("tools/packaging/qemu/60-vmm-block.json")));
        Assert.Equal("block", installed.RootElement.GetProperty("type").GetString());
        Assert.NotEmpty(installed.RootElement.GetProperty("description").GetString()!);
        Assert.Equal("/usr/libexec/vmm/vhost-user-blk", installed.RootElement.GetProperty("binary").GetString());
        string script = File.ReadAllText(Repository.PathOf("tools/packaging/qemu/vhost-user-blk"));
        Assert.Contains("exec /usr/bin/vmm serve \"$@\"", script);
    }

    [Theory]
    [InlineData("--blk-file is missing", "--socket-path", "s")]
    [InlineData("--socket-path and --fd: give one of them", "--blk-file", "d")]
    [InlineData("--socket-path and --fd: give one of them", "--blk-file", "d", "--fd", "7", "--socket-path", "s")]
    public void Half_of_a_convention_is_a_usage_error(string sentence, params string[] arguments)
    {
        VmmResult result = VmmProcess.Run(["serve", .. arguments]);
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(sentence, result.Error);
    }
}
