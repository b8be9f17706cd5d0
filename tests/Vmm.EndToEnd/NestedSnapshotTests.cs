namespace Vmm.EndToEnd;

/// <summary>A stock Debian kernel on true KVM, nested in QEMU, is put away and brought back while it writes its disk.</summary>
public sealed class NestedSnapshotTests
{
    [Fact]
    [Trait("Long", "true")]
    public void Linux_that_verifies_what_it_writes_goes_on_in_one_process_after_the_other()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            dd if=/dev/urandom of=/tmp/disk bs=1M count=16 2>/dev/null
            vmm boot --kernel {NestedGuest.Kernel} --initrd {NestedGuest.Initrd} --memory 256 --disk /tmp/disk --rng --api /tmp/api \
              --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=blk" </dev/null >/tmp/console &
            vmm=$!
            touch /tmp/console
            until grep -q vmm-guest /tmp/console; do sleep 1; done
            rounds=0
            while vmm ctl /tmp/api snapshot /tmp/saved$rounds --stop; do
              wait $vmm
              vmm state check /tmp/saved$rounds
              vmm boot --restore /tmp/saved$rounds --strict --disk /tmp/disk --rng --api /tmp/api </dev/null >>/tmp/console &
              vmm=$!
              rm -rf /tmp/saved$((rounds - 1))
              rounds=$((rounds + 1))
              sleep 3
            done
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            echo "vmm-host exit $status"
            echo "vmm-host rounds $rounds"
            [ $rounds -ge 2 ] && echo "vmm-host restored"
            echo "vmm-host after $(sha256sum /tmp/disk | cut -d ' ' -f 1)"
            """, memoryMiB: 2000);
        string all = string.Join('\n', console);
        Assert.True(console.Contains("vmm-host exit 0"), all);
        Assert.Contains("vmm-host restored", console);
        Assert.Contains("vmm-test blk passed", console);
        Assert.Equal(Word(console, "vmm-disk vda sha256-after"), Word(console, "vmm-host after"));
        // The clock jumps, which Linux may say; nothing else.
        Assert.DoesNotContain(console, line => line.StartsWith('<') && !line.Contains("clocksource", StringComparison.Ordinal)
            && !line.Contains("Speculative Return Stack Overflow", StringComparison.Ordinal)
            && !line.Contains("fpu__init_system_xstate", StringComparison.Ordinal));
        TestContext.Current.SendDiagnosticMessage(console.First(line => line.StartsWith("vmm-host rounds", StringComparison.Ordinal)));
    }

    private static string Word(string[] console, string text) =>
        Assert.Single(console, line => line.StartsWith(text + " ", StringComparison.Ordinal))[(text.Length + 1)..];
}
