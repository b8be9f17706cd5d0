using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What <c>vmm doctor</c> looks at. Nothing of the machine is changed.</summary>
internal static class HostChecks
{
    /// <summary>The oldest kernel whose io_uring has what reactors and disks use.</summary>
    private static readonly Version RingKernel = new(6, 1);

    /// <summary>Descriptors of a disk, and of a front-end that is connected to it.</summary>
    private const ulong DescriptorsPerDisk = 2, DescriptorsPerFrontEnd = 7, FilesUsual = 1024;

    internal static IReadOnlyList<HostCheck> All { get; } =
    [
        new("kernel", null, Kernel),
        new("io_uring", null, Ring),
        new("kvm", "boot", Kvm),
        new("sandbox", null, Sandbox),
        new("open files", null, Files),
        new("tap", null, Tap),
        new("huge pages", null, HugePages),
        new("inotify", null, Watches),
        new("sockets", null, RuntimeDirectory),
        new("librbd", null, Ceph),
    ];

    private static Finding Kernel()
    {
        string release = TextOf("/proc/sys/kernel/osrelease") ?? "unknown";
        string[] numbers = release.Split('.', '-', '+');
        bool isKnown = numbers.Length > 1 && Version.TryParse($"{numbers[0]}.{numbers[1]}", out _);
        return isKnown && Version.Parse($"{numbers[0]}.{numbers[1]}") < RingKernel
            ? Finding.Limited($"Linux {release}: below {RingKernel}, threads do what io_uring would: take a newer kernel for fast disks")
            : Finding.Good($"Linux {release}");
    }

    private static Finding Ring()
    {
        string? why = null;
        ReactorOptions options = new() { Name = "doctor", Poller = PollerKind.IoRing, OnFallBack = reason => why = reason };
        using Reactor reactor = new(options);
        return why is null
            ? Finding.Good("disks read and write through it")
            : Finding.Limited($"{why[(why.LastIndexOf(": ", StringComparison.Ordinal) + 2)..]}: threads stand in, and disks are slower");
    }

    private static Finding Kvm()
    {
        try
        {
            using KvmSystem kvm = KvmSystem.Open();
            return Finding.Good(string.Create(CultureInfo.InvariantCulture, $"{kvm.Path}, up to {kvm.VcpusMax} vCPUs a machine"));
        }
        catch (KvmUnavailableException unavailable)
        {
            return Finding.Missing(unavailable.Message);
        }
    }

    private static Finding Sandbox() => ProcessSandbox.Lacks() is [string lack, ..]
        ? Finding.Limited(lack) : Finding.Good("Landlock and seccomp: serve and boot keep only what their options name");

    private static Finding Files()
    {
        ulong limit = ProcessDescriptors.Limit;
        string room = string.Create(CultureInfo.InvariantCulture,
            $"{limit}: room for about {limit / (DescriptorsPerDisk + DescriptorsPerFrontEnd)} disks with a guest each");
        return limit > FilesUsual ? Finding.Good(room)
            : Finding.Limited($"{room}; for more raise it (ulimit -n 65536, or LimitNOFILE= of a unit)");
    }

    private static Finding Tap()
    {
        const string Path = "/dev/net/tun";
        if (!File.Exists(Path))
            return Finding.Missing($"there is no {Path}, so no --net tap=NAME: load the module tun, or give --net uds=PATH");
        return CanOpen(Path) ? Finding.Good($"{Path}: --net tap=NAME takes an interface that you own, or any as root")
            : Finding.Missing($"you may not open {Path}, so no --net tap=NAME: change its permissions, or give --net uds=PATH");
    }

    private static Finding HugePages()
    {
        const string Key = "HugePages_Free:";
        string[] lines = TextOf("/proc/meminfo")?.Split('\n') ?? [];
        string free = lines.FirstOrDefault(line => line.StartsWith(Key, StringComparison.Ordinal))?[Key.Length..].Trim() ?? "0";
        return free != "0" ? Finding.Good($"{free} are free, for guest memory of front-ends that ask for it")
            : Finding.Limited("none are free: a front-end with hugetlbfs memory is refused; reserve some with sysctl vm.nr_hugepages=N");
    }

    private static Finding Watches()
    {
        const string Path = "/proc/sys/fs/inotify/max_user_watches";
        return TextOf(Path) is { } text && text != "0" ? Finding.Good($"{text} images a user are looked at when they are resized")
            : Finding.Limited($"no watches ({Path}): images are looked at twice a second, to find out that they were resized");
    }

    private static Finding RuntimeDirectory()
    {
        string? own = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        if (own is { Length: > 0 } && Directory.Exists(own)) return Finding.Good($"{own} is a place for them, which is yours");
        return Environment.IsPrivilegedProcess
            ? Finding.Good("/run is a place for them: make a directory in it for those who may connect")
            : Finding.Limited("XDG_RUNTIME_DIR names no directory: make one for them that only you and your front-ends may enter");
    }

    private static Finding Ceph() => NativeLibrary.TryLoad("librbd.so.1", out _)
        ? Finding.Good("disks rbd:POOL/IMAGE can be opened")
        : Finding.Missing("librbd.so.1 is not here, so no disks rbd:POOL/IMAGE: apt install librbd1");

    private static string? TextOf(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Whether a device may be opened, which by itself does nothing.</summary>
    private static bool CanOpen(string path)
    {
        try
        {
            using FileStream opened = new(path, FileMode.Open, FileAccess.ReadWrite);
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
