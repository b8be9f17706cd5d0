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

    [Fact]
    [Trait("Long", "true")]
    public void Clones_of_one_snapshot_have_random_numbers_of_their_own_and_share_its_memory()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            private_kib() {"{"} awk '/^Private_Dirty:/ {"{"} dirty = $2 {"}"} /^Anonymous:/ {"{"} anonymous = $2 {"}"} END {"{"} print (dirty > anonymous ? dirty : anonymous) {"}"}' /proc/$1/smaps_rollup; {"}"}
            vmm boot --kernel {NestedGuest.Kernel} --initrd {NestedGuest.Initrd} --memory 256 --api /tmp/api               --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=clone" </dev/null >/tmp/console &
            vmm=$!
            touch /tmp/console
            until grep -q 'vmm-clone waits' /tmp/console; do sleep 1; done
            sleep 2
            echo "vmm-host cold $(private_kib $vmm)"
            vmm ctl /tmp/api snapshot /tmp/saved --stop
            wait $vmm
            for clone in 1 2; do
              vmm boot --restore /tmp/saved --api /tmp/api </dev/null >/tmp/console$clone &
              vmm=$!
              touch /tmp/console$clone
              until grep -q 'vmm-clone done' /tmp/console$clone; do sleep 1; done
              echo "vmm-host clone$clone $(private_kib $vmm)"
              wait $vmm
              sed "s/vmm-clone/vmm-clone$clone/; s/vmm-log/vmm-log$clone/" /tmp/console$clone
            done
            """, memoryMiB: 2000);
        string all = string.Join('\n', console);
        Assert.True(console.Contains("vmm-nest passed"), all);
        foreach (string what in (string[])["urandom", "uuid"])
        {
            string first = Word(console, $"vmm-clone1 {what}"), second = Word(console, $"vmm-clone2 {what}");
            Assert.True(first.Length >= 32, all);
            Assert.NotEqual(first, second);
        }
        foreach (int clone in (int[])[1, 2])
        {
            Assert.Contains($"vmm-clone{clone} boot-id stays", console);
            Assert.Contains($"vmm-log{clone} clean", console);
            int cold = int.Parse(Word(console, "vmm-host cold")), own = int.Parse(Word(console, $"vmm-host clone{clone}"));
            TestContext.Current.SendDiagnosticMessage($"clone {clone} has {own} KiB to itself, a cold boot {cold}");
            Assert.InRange(own, 1, cold / 4);
        }
    }

    private static string Word(string[] console, string text) =>
        Assert.Single(console, line => line.StartsWith(text + " ", StringComparison.Ordinal))[(text.Length + 1)..];
}
