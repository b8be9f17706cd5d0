namespace Vmm.EndToEnd;

/// <summary>
/// User Mode Linux (Debian's <c>user-mode-linux</c>): a real kernel with its real virtio drivers as a process, at native speed and without
/// KVM. From start to power-off it takes about two seconds. It has one processor and no virtio-rng, and takes packed rings wherever they are
/// offered.
/// </summary>
internal sealed class UmlGuest : LinuxGuest
{
    private const string Uml = "/usr/bin/linux.uml";

    /// <summary>What <c>vmm serve</c> has to be given beside the devices, because this guest's memory can't be sealed.</summary>
    internal static readonly string[] ServeOptions = ["--allow-unsealed"];

    private readonly ScratchDirectory _own;

    /// <param name="tests">Scripts of tools/guest/tests to run, in order, divided by commas.</param>
    /// <param name="devices">
    /// What the kernel is to have: see <see cref="DiskAt"/> and those beside it; other words of its command line too.
    /// </param>
    internal UmlGuest(string tests, params string[] devices) : this(null, tests, devices)
    {
    }

    /// <param name="onPrinted">Gets each line of its console, at once.</param>
    /// <param name="tests">As above.</param>
    /// <param name="devices">As above.</param>
    internal UmlGuest(Action<string>? onPrinted, string tests, params string[] devices) : this(new ScratchDirectory(), onPrinted, tests, devices)
    {
    }

    private UmlGuest(ScratchDirectory own, Action<string>? onPrinted, string tests, string[] devices)
        : base(Uml,
        [
            // Its memory is a file in /dev/shm, which the back-end maps; the control socket goes into a directory that Dispose removes.
            "mem=192M", $"initrd={ImageFile("uml.gz")}", $"uml_dir={own.PathOf("uml")}/", "con0=fd:0,fd:1", "con=null", "ssl=null",
            "quiet", "panic=-1", .. devices, $"vmm.tests={tests}",
        ], onPrinted, ("LD_PRELOAD", ImageFile("umlxsave.so"))) => _own = own;

    internal static void SkipIfMissing() => Assert.SkipUnless(File.Exists(Uml), $"{Uml} is not there: tools/test.sh installs it");

    internal static string NetAt(string socket) => Device(socket, 1);

    internal static string DiskAt(string socket) => Device(socket, 2);

    internal static string ConsoleAt(string socket) => Device(socket, 3);

    internal static string BalloonAt(string socket) => Device(socket, 5);

    internal static string VsockAt(string socket) => Device(socket, 19);

    public override void Dispose()
    {
        base.Dispose();
        _own.Dispose();
    }

    /// <summary>Starts <c>vmm serve</c>, and waits until it listens on every socket.</summary>
    /// <param name="wrapper">A command to run it under; empty for none.</param>
    /// <param name="devices">Options such as <c>--blk</c>, <c>path=…,socket=…</c>, in pairs.</param>
    internal static VmmProcess Serve(string[] wrapper, params string[] devices)
    {
        VmmProcess vmm = new(wrapper, ["serve", .. devices, .. ServeOptions]);
        for (int i = 0; i < devices.Length; i += 2) vmm.WaitFor($"listening {devices[i].TrimStart('-')} ");
        return vmm;
    }

    private static string Device(string socket, int type) => $"virtio_uml.device={socket}:{type}";
}
