using System.Globalization;

namespace Vmm.EndToEnd;

/// <summary>
/// Command lines that are carried out, in a root that holds the program and next to nothing else: right ones, nearly right ones and
/// nonsense. Whatever they open or find missing, the answer is an exit code with a sentence, never a crash, and nothing is left behind.
/// </summary>
/// <remarks><c>CommandLineTarget</c> of the fuzzer goes through far more of them, and opens nothing. VMM_SEED replays a run.</remarks>
public sealed class OpeningCommandLineTests
{
    private const int Runs = 300;
    private static readonly string Long = new('x', 120);

    private static readonly string[] Commands = ["run", "run", "boot", "serve", "serve", "bench vhost-user-blk", "check", "config show", "state show", "state check", "doctor", "ctl", "start"];

    private static readonly string[] Paths =
    [
        "disk.img", "empty", "odd", "no-such", "directory", "no/such/file", ".", "/", "/dev/null", "disk.img/x", "", Long, $"directory/{Long}",
        "socket", "link", "loop", "disk\u00e4\u4e00", "a b", "it's", "-", "--", "%s", "null:1M", "memory:1M", "null:", "nbd://", "nbd+unix:///?socket=socket",
        "rbd:a/b", "nbds://127.0.0.1:1/x",
    ];

    private static readonly string[] Devices =
    [
        "--disk=P", "--disk=P,ro", "--disk=P,temporary", "--disk=P,cache=none", "--disk=path=P,engine=ring,queues=3", "--console=pty", "--console=uds=P",
        "--console=file=P", "--console=terminal", "--net=uds=P", "--net=tap=P", "--net=uds=P,pcap=P", "--vsock=cid=7,uds=P", "--balloon=target=9",
        "--balloon=control=P", "--rng", "--rng=false",
    ];

    private static readonly string[] Served =
    [
        "--disk=P,socket=P", "--blk=path=P,socket=P,mode=0660,group=kvm", "--rng=socket=P", "--rng=fd=5", "--net=socket=P,uds=P", "--vsock=socket=P,cid=9,uds=P",
        "--console=socket=P,uds=P", "--console=socket=P,file=P", "--balloon=socket=P,control=P", "--api=P", "--print-qemu", "--print-capabilities",
        "--blk-file=P", "--socket-path=P", "--fd=6", "--read-only", "--reactors=2", "--cpus=0-1", "--cpus=900", "--map-max=1",
    ];

    private static readonly string[] Others =
    [
        "--vcpus=2", "--memory=16", "--memory=17", "--kernel=P", "--initrd=P", "--append=quiet", "--restore=P", "--strict", "--hugepages=2m", "--cpus=0",
        "--exec=lsdev; poweroff", "--stats=json", "--api=P", "--log=json", "--core", "--config=P", "--no-acpi", "--on-crash=pause", "--user=nobody",
        "--sandbox=require", "--sandbox=off", "--socket=P", "--vs=P", "--json=P", "--seconds=1", "--size=512", "--rw=write", "P", "P", "ls", "get", "--json",
    ];

    [Fact]
    public void Are_answered_by_a_sentence_and_leave_nothing_behind()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a root is entered by root only");
        Assert.SkipUnless(VmmTool.PublishedFile is not null, "needs the published file: tools/test.sh makes it");
        int seed = int.TryParse(Environment.GetEnvironmentVariable("VMM_SEED"), CultureInfo.InvariantCulture, out int given) ? given : Environment.TickCount;
        Random random = new(seed);
        using ScratchDirectory scratch = new();
        string root = MakeRoot(scratch);
        HashSet<int> codes = [];
        for (int i = 0; i < Runs; i++)
        {
            string[] words = Words(random);
            string said = $"VMM_SEED={seed}, run {i}: vmm '{string.Join("' '", words)}'";
            // What serves or waits for a guest is asked to end after a moment; what does not end then has hung.
            (int code, string output) = Shell.Try(["timeout", "--signal=TERM", "--kill-after=30", "0.4", "chroot", root, "/vmm", .. words]);
            codes.Add(code);
            // 124: it was asked to end, and did. 143 and 141: as any program that is asked before it has begun to listen to signals.
            Assert.True(code is 0 or 1 or 2 or 124, $"{said} ended with {code}: {output}");
            Assert.False(output.Contains("   at ", StringComparison.Ordinal) || output.Contains("Unhandled", StringComparison.Ordinal), $"{said}: {output}");
            if (code is 1 or 2) Assert.True(output.Contains("vmm: ", StringComparison.Ordinal) || output.Contains(": ", StringComparison.Ordinal), $"{said}: no sentence: {output}");
            Restore(root);
        }
        // The runs reached every way out; how many of them serve until they are asked to end is up to chance.
        Assert.Superset(new HashSet<int> { 0, 1, 2 }, codes);
    }

    private static string[] Words(Random random)
    {
        string command = Pick(random, Commands);
        List<string> words = [.. command.Split(' ')];
        string[] options = command switch { "run" or "boot" => Devices, "serve" => Served, _ => Others };
        for (int left = random.Next(1, 5); left > 0; left--)
        {
            string option = Pick(random, random.Next(4) == 0 ? Others : options);
            words.Add(string.Concat(option.Split('P').SelectMany((part, i) => i == 0 ? [part] : (string[])[Pick(random, Paths), part])));
        }
        if (command == "run" && random.Next(3) > 0) words.Add("--exec=lsdev; fill vda 1; poweroff");
        return [.. words];
    }

    private static string Pick(Random random, string[] some) => some[random.Next(some.Length)];

    /// <summary>The program, the libraries it needs, and a few things to find.</summary>
    private static string MakeRoot(ScratchDirectory scratch)
    {
        string root = Directory.CreateDirectory(scratch.PathOf("root")).FullName;
        File.Copy(VmmTool.PublishedFile!, Path.Combine(root, "vmm"));
        foreach (string line in Shell.Lines(Shell.Run("ldd", VmmTool.PublishedFile!)))
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault(word => word.Trim().StartsWith('/')) is not { } library) continue;
            string copy = root + library.Trim();
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(library.Trim(), copy, overwrite: true);
        }
        Directory.CreateDirectory(Path.Combine(root, "directory"));
        Directory.CreateDirectory(Path.Combine(root, "dev"));
        Shell.Run("mknod", "-m", "666", Path.Combine(root, "dev/null"), "c", "1", "3");
        File.CreateSymbolicLink(Path.Combine(root, "link"), "disk.img");
        File.CreateSymbolicLink(Path.Combine(root, "loop"), "loop");
        Restore(root);
        return root;
    }

    /// <summary>Makes what is found what it was, and takes away what a run was asked to make.</summary>
    private static void Restore(string root)
    {
        string[] kept = ["vmm", "directory", "dev", "link", "loop", "lib", "lib64", "usr"];
        foreach (string entry in Directory.GetFileSystemEntries(root).Where(entry => !kept.Contains(Path.GetFileName(entry))))
        {
            if (Directory.Exists(entry) && new DirectoryInfo(entry).LinkTarget is null) Directory.Delete(entry, recursive: true);
            else File.Delete(entry);
        }
        using (FileStream disk = new(Path.Combine(root, "disk.img"), FileMode.Create)) disk.SetLength(1 << 20);
        File.WriteAllBytes(Path.Combine(root, "empty"), []);
        File.WriteAllBytes(Path.Combine(root, "odd"), new byte[1000]);
    }
}
