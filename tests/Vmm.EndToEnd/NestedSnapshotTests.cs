using System.Globalization;

namespace Vmm.EndToEnd;

/// <summary>A stock Debian kernel on true KVM, nested in QEMU, is put away and brought back while it writes its disk.</summary>
public sealed class NestedSnapshotTests
{
    private const int Rounds = 20;

    /// <summary>A shell function: a command that says nothing unless it fails.</summary>
    private const string Quiet = "quiet() { \"$@\" >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }; }";

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
    public void Linux_under_load_is_saved_killed_and_brought_back_twenty_times()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($$"""
            tunctl -t vm0 >/dev/null
            ip addr add 10.77.0.1/24 dev vm0
            ip link set vm0 up
            dd if=/dev/urandom of=/tmp/disk bs=1M count=16 2>/dev/null
            peer echo /tmp/vsock_5001 &
            devices="--rng --net tap=vm0,mac=02:00:00:00:00:02 --vsock cid=3,uds=/tmp/vsock --api /tmp/api"
            : >/tmp/console0
            vmm boot --kernel {{NestedGuest.Kernel}} --initrd {{NestedGuest.Initrd}} --memory 192 --disk /tmp/disk $devices \
              --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=load" </dev/null >/tmp/console0 2>/tmp/errors &
            vmm=$!
            # Whether all four loads have come further since this process runs: a lost interrupt or kick would hold one of them.
            progress() {
              until tr -d '\r' <$1 | awk '/^vmm-load at [0-9]+ [0-9]+ [0-9]+ [0-9]+ end$/ {
                  for (i = 3; i <= 6; i++) { if (!seen) first[i] = $i; last[i] = $i }; seen = 1 }
                  END { for (i = 3; i <= 6; i++) if (!seen || last[i] + 0 <= first[i] + 0) exit 1 }'; do
                kill -0 $vmm || { cat $1 /tmp/errors; exit 1; }
                sleep 1
              done
            }
            {{Quiet}}
            round=0
            while [ $round -lt {{Rounds}} ]; do
              progress /tmp/console$round
              saved=/tmp/saved$round
              quiet vmm ctl /tmp/api snapshot $saved --disks
              # What it does now is lost.
              sleep 1
              kill -9 $vmm
              wait $vmm || true
              quiet vmm state check $saved
              round=$((round + 1))
              : >/tmp/console$round
              rm -f /tmp/api /tmp/vsock /tmp/disk
              vmm boot --restore $saved --strict --disk path=/tmp/disk,from=$saved/disk-vda $devices </dev/null >/tmp/console$round 2>/tmp/errors &
              vmm=$!
              rm -rf /tmp/saved$((round - 2))
              echo "vmm-host round $round after $(cut -d ' ' -f 1 /proc/uptime) s"
            done
            progress /tmp/console$round
            vsockhost quit /tmp/vsock 6000
            status=0
            wait $vmm || status=$?
            for each in $(seq 0 $round); do cat /tmp/console$each; echo; done
            sed 's/^/vmm-host errors /' /tmp/errors
            echo "vmm-host exit $status"
            echo "vmm-host after $(sha256sum /tmp/disk | cut -d ' ' -f 1)"
            """, memoryMiB: 2400, minutes: 60);
        string all = string.Join('\n', console);
        Assert.True(console.Contains("vmm-host exit 0"), all);
        Assert.Contains($"vmm-host round {Rounds} after", all, StringComparison.Ordinal);
        foreach (string said in (string[])["vmm-load disk verified", "vmm-load stream verified", "vmm-load over", "vmm-test load passed"])
            Assert.True(console.Contains(said), all);
        Assert.Equal(Word(console, "vmm-disk vda sha256-after"), Word(console, "vmm-host after"));
        // The clock jumps, which Linux may say; nothing else.
        Assert.DoesNotContain(console, line => line.StartsWith("vmm-load complaint", StringComparison.Ordinal)
            && !line.Contains("clocksource", StringComparison.Ordinal));
        // The stream was reset by restores, and by nothing else: once by the word that the transport was reset, and before that perhaps
        // by the answer to a packet of a connection that is no more.
        Assert.InRange(int.Parse(Word(console, "vmm-vsock connections"), CultureInfo.InvariantCulture), 2, 2 * Rounds + 1);
    }

    [Fact]
    [Trait("Long", "true")]
    public void Eight_clones_of_one_Linux_draw_other_random_numbers_and_have_little_memory_of_their_own()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($$"""
            private() { awk '/^(Private_Dirty|Anonymous):/ { if ($2 > most) most = $2 } END { print most }' /proc/$1/smaps_rollup; }
            : >/tmp/console
            vmm boot --kernel {{NestedGuest.GenericKernel}} --initrd {{NestedGuest.GenericInitrd}} --memory 192 --rng --api /tmp/api \
              --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=clone" </dev/null >/tmp/console &
            vmm=$!
            until grep -q 'bytes.*end' /tmp/console; do kill -0 $vmm || { cat /tmp/console; exit 1; }; sleep 1; done
            echo "vmm-host cold $(private $vmm)"
            {{Quiet}}
            quiet vmm ctl /tmp/api snapshot /tmp/saved --stop
            wait $vmm
            clones=
            for each in 1 2 3 4 5 6 7 8; do
              vmm boot --restore /tmp/saved --rng </dev/null >/tmp/clone$each 2>&1 &
              clones="$clones $!"
            done
            for each in 1 2 3 4 5 6 7 8; do
              until grep -q 'vmm-clone forks [1-9].*end' /tmp/clone$each; do
                for clone in $clones; do kill -0 $clone || { cat /tmp/clone*; exit 1; }; done
                sleep 1
              done
              echo "vmm-host clone $(tr -d '\r' </tmp/clone$each | grep 'vmm-clone forks [1-9].*end' | head -n 1)"
            done
            for clone in $clones; do echo "vmm-host private $(private $clone)"; done
            kill $clones
            tr -d '\r' </tmp/console
            """, memoryMiB: 2400, minutes: 30);
        string all = string.Join('\n', console);
        string[] clones = [.. console.Where(line => line.StartsWith("vmm-host clone vmm-clone forks 1 ", StringComparison.Ordinal))];
        Assert.True(clones.Length == 8, all);
        string[] Each(string name) => [.. clones.Select(line => line[(line.IndexOf($" {name} ", StringComparison.Ordinal) + name.Length + 2)..].Split(' ')[0])];
        Assert.Equal(8, Each("uuid").Distinct().Count());
        Assert.Equal(8, Each("bytes").Distinct().Count());
        // This one it draws once, and keeps.
        Assert.Equal(Word(console, "vmm-clone began"), Assert.Single(Each("boot").Distinct()));
        long cold = long.Parse(Word(console, "vmm-host cold"), CultureInfo.InvariantCulture);
        long[] own = [.. console.Where(line => line.StartsWith("vmm-host private ", StringComparison.Ordinal))
            .Select(line => long.Parse(line.Split(' ')[^1], CultureInfo.InvariantCulture))];
        Assert.Equal(8, own.Length);
        Assert.All(own, each => Assert.InRange(each, 1, cold / 4));
        TestContext.Current.SendDiagnosticMessage($"a cold boot has {cold} KiB to itself, the clones {string.Join(' ', own)}");
    }

    private static string Word(string[] console, string text) =>
        Assert.Single(console, line => line.StartsWith(text + " ", StringComparison.Ordinal))[(text.Length + 1)..];
}
