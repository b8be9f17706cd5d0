namespace Vmm.EndToEnd;

/// <summary><c>vmm boot</c> and a stock Debian kernel on true KVM, nested in QEMU.</summary>
public sealed class BootTests
{
    private const string Boot = $"vmm boot --kernel {NestedGuest.Kernel} --initrd {NestedGuest.Initrd} --memory 256";

    [Fact]
    public void A_stock_kernel_finds_its_devices_uses_them_and_powers_off()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            dd if=/dev/urandom of=/tmp/disk bs=1M count=16 2>/dev/null
            echo "vmm-host before $(sha256sum /tmp/disk | cut -d ' ' -f 1)"
            peer echo 7003 & peer echo /tmp/vsock_5001 & peer talk /tmp/console0 "the guest speaks" "the host speaks" "the guest hears" &
            talk=$!
            touch /tmp/console
            {Boot} --vcpus 2 --disk /tmp/disk --disk memory:16M --rng --balloon target=64 --console uds=/tmp/console0 --net tap=vm0 --vsock cid=3,uds=/tmp/vsock \
              --cmdline "console=ttyS0 quiet panic=-1 vmm.balloon=64 vmm.tests=machine,blk,balloon,console,netecho,vsockecho" </dev/null >/tmp/console &
            vmm=$!
            until ip link set vm0 up 2>/dev/null || ! kill -0 $vmm; do sleep 1; done
            ip addr add 10.77.0.1/24 dev vm0
            until grep -q "vmm-vsock serving" /tmp/console || ! kill -0 $vmm; do sleep 1; done
            ! kill -0 $vmm || ! peer verify /tmp/vsock 6000 256 || echo "vmm-host vsock verified"
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            echo "vmm-host exit $status"
            wait $talk && echo "vmm-host console heard"
            echo "vmm-host after $(sha256sum /tmp/disk | cut -d ' ' -f 1)"
            """);
        Assert.Contains("vmm-machine cpus 2", console);
        Assert.Contains("vmm-machine driver virtio_blk", console);
        Assert.Contains("vmm-machine driver virtio_rng", console);
        Assert.Contains("vmm-machine driver virtio_balloon", console);
        Assert.Contains("vmm-machine driver virtio_console", console);
        Assert.Contains("vmm-machine driver virtio_net", console);
        Assert.Contains("vmm-machine driver vmw_vsock_virtio_transport", console);
        Assert.Contains("vmm-machine console 4-edge", console);
        Assert.Contains("vmm-machine alarms 1", console);
        Assert.Contains("vmm-disk vda sectors 32768 queues 2 read-only 0", console);
        Assert.Contains("vmm-disk vdb sectors 32768 queues 2 read-only 0", console);
        Assert.Equal(Word(console, "vmm-host before"), Word(console, "vmm-disk vda sha256"));
        foreach (string test in (string[])["machine", "blk", "balloon", "console", "netecho", "vsockecho"]) Assert.Contains($"vmm-test {test} passed", console);
        Assert.Contains("vmm-console heard the host speaks", console);
        Assert.Contains("vmm-host console heard", console);
        Assert.Contains("vmm-host vsock verified", console);
        AssertNoComplaints(console);
        Assert.Contains("vmm-host exit 0", console);
        Assert.Equal(Word(console, "vmm-disk vda sha256-after"), Word(console, "vmm-host after"));
        Assert.Contains("vmm-nest passed", console);
    }

    [Fact]
    public void A_machine_that_is_paused_again_and_again_under_load_loses_nothing()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            dd if=/dev/urandom of=/tmp/disk bs=1M count=16 2>/dev/null
            {Boot} --vcpus 2 --disk /tmp/disk --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=blk" </dev/null >/tmp/console &
            vmm=$!
            touch /tmp/console
            until grep -q vmm-guest /tmp/console; do sleep 1; done
            pauses=0
            while kill -TSTP $vmm 2>/dev/null; do
              sleep 1
              kill -CONT $vmm || break
              pauses=$((pauses + 1))
              sleep 1
            done
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            echo "vmm-host exit $status"
            [ $pauses -ge 2 ] && echo "vmm-host paused"
            echo "vmm-host after $(sha256sum /tmp/disk | cut -d ' ' -f 1)"
            """);
        Assert.Contains("vmm-host exit 0", console);
        Assert.Contains("vmm-host paused", console);
        Assert.Contains("vmm: the machine stands still, until SIGCONT", console);
        Assert.Contains("vmm-test blk passed", console);
        AssertNoComplaints(console);
        Assert.Equal(Word(console, "vmm-disk vda sha256-after"), Word(console, "vmm-host after"));
    }

    [Fact]
    [Trait("Long", "true")]
    public void A_kernel_whose_console_is_a_terminal_that_is_not_opened_comes_up_and_powers_off()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
            status=0
            {Boot} --console pty --cmdline "console=ttyS0 console=hvc0 printk.devkmsg=on loglevel=8 panic=-1 vmm.lines=300 vmm.tests=hvc" </dev/null || status=$?
            echo "vmm-host exit $status"
            """);
        Assert.Contains("vmm-hvc 1", console);
        Assert.Contains("vmm-test hvc passed", console);
        Assert.Contains("vmm-host exit 0", console);
    }

    [Fact]
    public void A_stock_kernel_and_its_host_connect_to_each_other()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            vsockhost echo /tmp/v_5001 &
            {Boot} --vsock cid=5,uds=/tmp/v --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=vsock-nest" </dev/null >/tmp/console &
            vmm=$!
            touch /tmp/console
            until grep -q 'vmm-vsock serving 6000' /tmp/console; do
              if ! kill -0 $vmm 2>/dev/null; then cat /tmp/console; exit 1; fi
              sleep 1
            done
            vsockhost ask /tmp/v 6000 1024
            vsockhost quit /tmp/v 6000
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            echo "vmm-host exit $status"
            [ ! -e /tmp/v ] && echo "vmm-host socket gone"
            """);
        Assert.Contains("vmm-vsock cid 5", console);
        Assert.Contains("vmm-host echoed 1048576", console);
        Assert.Contains("vmm-test vsock-nest passed", console);
        AssertNoComplaints(console);
        Assert.Contains("vmm-host exit 0", console);
        Assert.Contains("vmm-host socket gone", console);
        Assert.Contains("vmm-nest passed", console);
    }

    [Fact]
    public void Linux_on_KVM_has_a_network_of_several_queues()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            netecho 7003 &
            {Boot} --vcpus 2 --net tap=vm0,queues=2,mac=02:00:00:00:00:02,mtu=1400 --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=net-nest" </dev/null &
            vmm=$!
            until ip link show vm0 >/dev/null 2>&1; do sleep 1; done
            ip addr add 10.77.0.1/24 dev vm0
            ip link set vm0 up
            status=0
            wait $vmm || status=$?
            echo "vmm-host exit $status"
            """);
        Assert.Contains("vmm-net mtu 1400 queues 2 address 02:00:00:00:00:02", console);
        Assert.Contains("3 packets transmitted, 3 packets received, 0% packet loss", console);
        Assert.Contains("vmm-net connections 20", console);
        Assert.Contains("vmm-test net-nest passed", console);
        AssertNoComplaints(console);
        Assert.Contains("vmm-host exit 0", console);
        Assert.Contains("vmm-nest passed", console);
    }

    [Fact]
    public void A_panic_a_reset_and_a_signal_end_the_machine_with_a_sentence_and_a_code()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            {Boot} --cmdline "console=ttyS0 quiet vmm.tests=panic" </dev/null || echo "vmm-host panic $?"
            {Boot} --cmdline "console=ttyS0 quiet vmm.tests=reboot" </dev/null || echo "vmm-host reset $?"
            {Boot} --cmdline "console=ttyS0 quiet rdinit=/none" </dev/null >/tmp/console & vmm=$!
            touch /tmp/console
            until grep -q . /tmp/console; do sleep 1; done
            kill -TERM $vmm
            wait $vmm || echo "vmm-host stopped $?"
            {Boot} --cmdline "console=ttyS0 quiet reboot=t vmm.tests=reboot" </dev/null || echo "vmm-host fault $?"
            {Boot} --cmdline "console=ttyS0 quiet vmm.tests=panic" --on-crash pause </dev/null 2>/tmp/errors & vmm=$!
            touch /tmp/errors
            until grep -q "is kept as it is" /tmp/errors || ! kill -0 $vmm; do sleep 1; done
            kill -TERM $vmm
            wait $vmm || echo "vmm-host kept $?"
            sed 's/^/vmm-host errors /' /tmp/errors
            {Boot} --cmdline "quiet rdinit=/none panic=0" </dev/null 2>/tmp/errors & vmm=$!
            until grep -q "printed nothing" /tmp/errors || ! kill -0 $vmm; do sleep 1; done
            kill -TERM $vmm
            wait $vmm || echo "vmm-host silent $?"
            sed 's/^/vmm-host errors /' /tmp/errors
            """);
        // The guest was cut off in the middle of a line.
        Assert.Contains(console, line => line.EndsWith("vmm: the guest's kernel panicked", StringComparison.Ordinal));
        Assert.Contains("vmm-host panic 1", console);
        Assert.Contains(console, line => line.Contains("vmm: the guest reset the machine", StringComparison.Ordinal));
        Assert.Contains("vmm-host reset 1", console);
        Assert.Contains("vmm-host stopped 1", console);
        Assert.Contains(console, line => line.Contains("shut down after a triple fault", StringComparison.Ordinal)
            && line.Contains("; vCPU 0: rip ", StringComparison.Ordinal) && line.Contains("last exits: Shutdown, ", StringComparison.Ordinal));
        Assert.Contains("vmm-host fault 1", console);
        Assert.Contains("vmm-host errors vmm: the guest's kernel panicked; the machine is kept as it is until it is stopped", console);
        Assert.Contains("vmm-host kept 1", console);
        Assert.Contains("vmm-host errors vmm: the guest's kernel panicked", console);
        Assert.Contains(console, line => line.Contains("printed nothing on its serial console", StringComparison.Ordinal) && line.Contains("vCPU 0 is at rip ", StringComparison.Ordinal));
        Assert.Contains("vmm-host silent 1", console);
    }

    [Fact]
    public void Linux_reboots_is_reset_and_heeds_its_power_button()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            truncate -s 1M /tmp/disk
            {Boot} --disk /tmp/disk --rng --api /tmp/api --on-reboot restart \
              --cmdline "console=ttyS0 quiet panic=-1 reboot=k vmm.tests=again,power" </dev/null >/tmp/console 2>/tmp/errors & vmm=$!
            touch /tmp/console
            waits() ( until [ "$(grep -c 'vmm-power waits' /tmp/console)" -eq $1 ] || ! kill -0 $vmm 2>/dev/null; do sleep 1; done )
            waits 1
            vmm ctl /tmp/api reset
            waits 2
            vmm ctl /tmp/api power-off
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            sed 's/^/vmm-host errors /' /tmp/errors
            echo "vmm-host exit $status"
            echo "vmm-host boots $(tr -d '\\0' </tmp/disk)"
            """);
        Assert.Contains("vmm-host boots bbb", console);
        Assert.Equal(3, console.Count(line => line.Contains("vmm-guest ready", StringComparison.Ordinal)));
        Assert.Contains("vmm-host errors vmm: the guest reset the machine: it rebooted, or its kernel panicked; it starts again", console);
        Assert.Contains("vmm-host errors vmm: the machine was reset from outside; it starts again", console);
        Assert.Contains("vmm-power pressed 1 116", console);
        Assert.Contains("vmm-test power passed", console);
        AssertNoComplaints(console);
        Assert.Contains("vmm-host exit 0", console);
    }

    [Fact]
    public void Linux_finds_a_disk_that_comes_while_it_runs_keeps_it_while_it_is_in_use_lets_go_of_it_and_finds_the_next_in_its_place()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run($"""
            truncate -s 1M /tmp/a; truncate -s 8M /tmp/b; truncate -s 3M /tmp/c
            printf again | dd of=/tmp/c conv=notrunc 2>/dev/null
            {Boot} --disk /tmp/a --rng --api /tmp/api --cmdline "console=ttyS0 quiet panic=-1 vmm.tests=plug" </dev/null >/tmp/console 2>/tmp/errors & vmm=$!
            touch /tmp/console
            ends() {"{"} ! kill -0 $vmm 2>/dev/null; {"}"}
            waits() ( until grep -q "vmm-plug $1" /tmp/console || ends; do sleep 1; done )
            waits "waits for vdb"
            echo "vmm-host added $(vmm ctl /tmp/api add blk path=/tmp/b)"
            waits "uses vdb"
            vmm ctl /tmp/api remove vdb >/dev/null 2>/tmp/refused
            until vmm ctl /tmp/api operations | grep -q 'failed.*did not let go' || ends; do sleep 1; done
            echo "vmm-host kept $(vmm ctl /tmp/api ls | grep -c '^vd')"
            waits "is done with vdb"
            vmm ctl /tmp/api remove vdb && echo "vmm-host removed"
            waits "let go of vdb"
            until vmm ctl /tmp/api operations | grep -q ' done' || ! vmm ctl /tmp/api ls | grep -q vdb || ends; do sleep 1; done
            echo "vmm-host added again $(vmm ctl /tmp/api add blk path=/tmp/c || true)"
            status=0
            wait $vmm || status=$?
            cat /tmp/console
            sed 's/^/vmm-host errors /' /tmp/errors
            echo "vmm-host exit $status"
            echo "vmm-host content $(head -c 5 /tmp/b)"
            """);
        Assert.Contains("vmm-host added vdb", console);
        Assert.Contains("vmm-plug vdb sectors 16384", console);
        Assert.Contains("vmm-plug kept vdb", console);
        Assert.Contains("vmm-host kept 2", console);
        Assert.Contains("vmm-host removed", console);
        Assert.Contains("vmm-host added again vdb", console);
        Assert.Contains("vmm-plug vdb sectors 6144 now, content again", console);
        Assert.Contains("vmm-test plug passed", console);
        Assert.Contains("vmm-host content hello", console);
        AssertNoComplaints(console);
        Assert.Contains("vmm-host exit 0", console);
    }

    /// <summary>The inner kernel complains of the processor that QEMU emulates, and of nothing else; what it looks for while it boots is
    /// answered.</summary>
    private static void AssertNoComplaints(string[] console)
    {
        Assert.DoesNotContain(console, line => line.Contains("reaches no device", StringComparison.Ordinal));
        Assert.Contains(console, line => line.StartsWith("vmm-log ", StringComparison.Ordinal));
        Assert.DoesNotContain(console, line => line.StartsWith('<')
            && !line.Contains("Speculative Return Stack Overflow", StringComparison.Ordinal)
            && !line.Contains("fpu__init_system_xstate", StringComparison.Ordinal));
    }

    /// <summary>The word behind a text that begins a line.</summary>
    private static string Word(string[] console, string text) =>
        Assert.Single(console, line => line.StartsWith(text + " ", StringComparison.Ordinal))[(text.Length + 1)..];
}
