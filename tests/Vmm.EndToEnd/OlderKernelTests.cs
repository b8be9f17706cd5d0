namespace Vmm.EndToEnd;

/// <summary>The sandbox on kernels that have less of it: in a guest, where the kernel is ours to choose.</summary>
public sealed class OlderKernelTests
{
    /// <summary>Serves a disk and reads it, and asks for a sandbox that is whole.</summary>
    private const string Script = """
        dd if=/dev/urandom of=/tmp/disk bs=1M count=4 2>/dev/null
        mkdir /tmp/own
        vmm serve --blk path=/tmp/disk,socket=/tmp/own/s >/tmp/said 2>&1 &
        vmm=$!
        until grep -q listening /tmp/said; do kill -0 $vmm; sleep 1; done
        grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/$vmm/status
        vmm bench vhost-user-blk --socket /tmp/own/s --seconds 1 --verify >/dev/null 2>/tmp/progress && echo "vmm-host served"
        echo "vmm-host root $(ls /proc/$vmm/root | tr '\n' ' ')"
        kill $vmm
        wait $vmm
        cat /tmp/said
        vmm serve --sandbox=require --blk path=/tmp/disk,socket=/tmp/own/s || echo "vmm-host refused $?"
        """;

    [Fact]
    [Trait("Long", "true")]
    public void Without_Landlock_a_line_says_so_the_rest_is_laid_and_require_refuses()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run(Script, kernelOptions: "lsm=capability");
        Assert.Contains(console, line => line.Contains("this kernel has no Landlock: files and TCP ports are not restricted", StringComparison.Ordinal));
        AssertServedAndRefused(console);
    }

    [Fact]
    [Trait("Long", "true")]
    public void What_came_with_later_Landlock_is_said_to_be_missing()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run(Script, kernelOptions: "lsm=landlock,capability");
        Assert.Contains(console, line => line.Contains("this kernel's Landlock has version 2", StringComparison.Ordinal));
        AssertServedAndRefused(console);
    }

    private static void AssertServedAndRefused(string[] console)
    {
        foreach (string line in (string[])["vmm-host served", "vmm-host refused 1", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"])
            Assert.Contains(line, console);
        // The first process's root file system can be no mount that is left: then the root stays as it is.
        Assert.Contains(console, line => line.StartsWith("vmm-host root", StringComparison.Ordinal));
        Assert.Contains(console, line => line.Contains("--sandbox=require: this kernel", StringComparison.Ordinal));
    }
}
