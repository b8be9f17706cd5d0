using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>
/// A stock Debian kernel in QEMU (TCG: it runs wherever these tests do), whose devices are behind our sockets. Built once, by tools/guest/build.sh.
/// </summary>
internal sealed class QemuGuest : IDisposable
{
    /// <summary>For a kernel that QEMU emulates. On a busy host its timer is late enough for the kernel to call it broken: that says nothing of our devices.</summary>
    internal const string KernelOptions = "console=ttyS0 quiet panic=-1 no_timer_check";

    private const string Qemu = "/usr/bin/qemu-system-x86_64";
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(5);
    private static readonly Lazy<string> Image = new(Build);

    private readonly Process _process;
    private readonly List<string> _console = [];
    private readonly Task<string> _error;

    /// <param name="tests">Scripts of tools/guest/tests to run, in order.</param>
    /// <param name="processors">Virtual CPUs.</param>
    /// <param name="devices">Arguments for QEMU: a chardev and a device for each socket.</param>
    internal QemuGuest(string tests, int processors, params string[] devices)
    {
        string[] machine =
        [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-machine", "q35,accel=tcg", "-m", "256", "-smp", $"{processors}",
            "-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-numa", "node,memdev=memory",
            "-kernel", Path.Combine(Image.Value, "vmlinuz"), "-initrd", Path.Combine(Image.Value, "initramfs.gz"),
            "-append", $"{KernelOptions} vmm.tests={tests}",
        ];
        _process = Process.Start(new ProcessStartInfo(Qemu, [.. machine, .. devices]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.OutputDataReceived += (_, line) =>
        {
            lock (_console) _console.Add(line.Data?.Trim() ?? "");
        };
        _process.BeginOutputReadLine();
        _error = _process.StandardError.ReadToEndAsync();
    }

    /// <summary>A real guest is part of what the tests show: where QEMU is missing, tools/test.sh installs it.</summary>
    internal static void SkipIfMissing() => Assert.SkipUnless(File.Exists(Qemu), $"{Qemu} is not there: tools/test.sh installs it");

    /// <summary>A disk behind a socket. QEMU connects again, every second, when the other side goes.</summary>
    internal static string[] Disk(string socket, int queues, int queueSize = 128, bool packed = false) =>
    [
        "-chardev", $"socket,id=disk,path={socket},reconnect=1",
        "-device", $"vhost-user-blk-pci,chardev=disk,num-queues={queues},queue-size={queueSize},packed={(packed ? "on" : "off")}",
    ];

    /// <summary>An entropy device behind a socket. QEMU 7.2 can't reconnect this one: it starts to speak before it has connected.</summary>
    internal static string[] Entropy(string socket) =>
        ["-chardev", $"socket,id=rng,path={socket}", "-device", "vhost-user-rng-pci,chardev=rng"];

    /// <summary>Sockets behind a socket. The guest's context id is the device's.</summary>
    internal static string[] Vsock(string socket) =>
        ["-chardev", $"socket,id=vsock,path={socket}", "-device", "vhost-user-vsock-pci,chardev=vsock"];

    /// <summary>A network card behind a socket. Without MSI-X: with it, QEMU 7.2 crashes over this device where it emulates the processor.</summary>
    internal static string[] Net(string socket, int queues, int mtu) =>
    [
        "-chardev", $"socket,id=net,path={socket},reconnect=1", "-netdev", $"vhost-user,id=net,chardev=net,queues={queues}",
        "-device", $"virtio-net-pci,netdev=net,mq={(queues > 1 ? "on" : "off")},vectors=0,host_mtu={mtu},romfile=",
    ];

    internal bool HasEnded => _process.HasExited;

    /// <summary>What the guest said so far, line by line.</summary>
    internal string[] Console
    {
        get { lock (_console) return [.. _console]; }
    }

    /// <summary>Types a line on the guest's console.</summary>
    internal void Say(string line)
    {
        _process.StandardInput.Write($"{line}\n");
        _process.StandardInput.Flush();
    }

    /// <summary>Waits until the guest has said something.</summary>
    internal void WaitFor(string line)
    {
        bool said = SpinWait.SpinUntil(() => Console.Contains(line) || HasEnded, Watchdog);
        Assert.True(said && Console.Contains(line), $"the guest never said '{line}'.\nconsole: {string.Join('\n', Console)}");
    }

    /// <summary>Waits until the guest has said a line that begins like this.</summary>
    internal void WaitForLine(string start)
    {
        bool Said() => Console.Any(line => line.StartsWith(start, StringComparison.Ordinal));
        bool said = SpinWait.SpinUntil(() => Said() || HasEnded, Watchdog);
        Assert.True(said && Said(), $"the guest never said '{start}…'.\nconsole: {string.Join('\n', Console)}");
    }

    /// <summary>Waits until the guest powered off.</summary>
    /// <returns>What it said on its console, line by line.</returns>
    internal string[] WaitForPowerOff()
    {
        bool ended = _process.WaitForExit(Watchdog);
        if (!ended) _process.Kill();
        _process.WaitForExit();
        Assert.True(_process.ExitCode == 0, $"{(ended ? $"QEMU ended with {_process.ExitCode}" : $"the guest did not power off within {Watchdog}")}.\nconsole: {string.Join('\n', Console)}\nstderr: {_error.Result}");
        return Console;
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }

    private static string Build()
    {
        string output = Repository.PathOf("artifacts/guest");
        using Process build = Process.Start(new ProcessStartInfo(Repository.PathOf("tools/guest/build.sh"), [output]) { RedirectStandardError = true })!;
        string error = build.StandardError.ReadToEnd();
        build.WaitForExit();
        Assert.True(build.ExitCode == 0, $"tools/guest/build.sh failed: {error}");
        return output;
    }
}
