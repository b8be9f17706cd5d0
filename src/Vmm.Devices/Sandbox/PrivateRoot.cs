namespace Vmm.Devices.Sandbox;

/// <summary>
/// A root of the calling thread's own in which there is nothing but what a plan names, at the same paths; and, where nothing of the plan is
/// on the host's, a network and objects of System V of its own. What is not there can neither be opened nor asked for, connected to or
/// changed, whatever Landlock knows of it.
/// </summary>
internal static class PrivateRoot
{
    /// <summary>Where the new root is mounted until it is the root. What a plan names below is held before.</summary>
    private static readonly string[] Places = ["/tmp", "/run", "/mnt"];

    /// <summary>Where all that is below comes along; what the kernel shows of processes and devices, with rules of its own.</summary>
    private static readonly string[] OfKernel = ["/proc", "/sys"];

    /// <summary>
    /// Enters one on the calling thread if this process may make mounts: as root, where no container or service manager forbids it. It
    /// stays where it is otherwise, and if something of the plan cannot be taken along.
    /// </summary>
    /// <returns>The namespaces that the thread has left, for the others to follow.</returns>
    internal static int Enter(SandboxPlan plan)
    {
        const int leaving = NamespaceCalls.CLONE_NEWNS | NamespaceCalls.CLONE_NEWIPC;
        // A name that goes through a link and back names another place where the link is a directory.
        if (plan.All.Any(access => access.Path.Contains("/../", StringComparison.Ordinal))) return 0;
        string directory = Directory.GetCurrentDirectory();
        if (NamespaceCalls.Leave(leaving) != Errno.None) return 0;
        if (!TryEnter(plan, directory)) return leaving;
        return !UsesNetwork(plan) && NamespaceCalls.Leave(NamespaceCalls.CLONE_NEWNET) == Errno.None
            ? leaving | NamespaceCalls.CLONE_NEWNET : leaving;
    }

    private static bool TryEnter(SandboxPlan plan, string directory)
    {
        if (NamespaceCalls.KeepMounts() != Errno.None || Array.Find(Places, Directory.Exists) is not { } place) return false;
        List<Taken> all = [.. Trees(plan)];
        const uint everyoneLooks = 0x12; // 022
        uint mask = SandboxCalls.SetFileMask(everyoneLooks);
        try
        {
            if (NamespaceCalls.MountEmpty(place) != Errno.None) return false;
            if (!TryFill(place, all, directory) || NamespaceCalls.Enter(place) != Errno.None || NamespaceCalls.BecomeRoot() != Errno.None)
            {
                _ = NamespaceCalls.Enter(directory);
                NamespaceCalls.Unmount(place);
                return false;
            }
        }
        finally
        {
            _ = SandboxCalls.SetFileMask(mask);
            all.ForEach(taken => taken.Tree.Dispose());
        }
        _ = NamespaceCalls.FreezeRoot();
        _ = NamespaceCalls.Enter(directory);
        return true;
    }

    /// <summary>Abstract sockets belong to a network too; libraries of a cluster find their servers by themselves.</summary>
    private static bool UsesNetwork(SandboxPlan plan) => plan.NeedsAbstractSockets || plan.DevicesComeLater
        || plan.Has(HostAccessKind.ConnectTcp) || plan.Has(HostAccessKind.Tap) || plan.Has(HostAccessKind.Libraries);

    /// <summary>What comes along, directories before what is in them.</summary>
    private static IEnumerable<Taken> Trees(SandboxPlan plan)
    {
        HashSet<string> writable = [.. OfKernel], all = [.. OfKernel, .. SocketDirectories(plan)];
        foreach ((string path, ulong rights) in Landlock.PathsOf(plan))
        {
            string full = Path.GetFullPath(path);
            if (IsMadeAnew(full) || OfKernel.Any(root => IsBelow(full, root))) continue;
            // By its own name too: loop devices and locks name files so.
            foreach (string name in (ReadOnlySpan<string>)[full, RealPath(full)])
            {
                all.Add(name);
                if (!Landlock.OnlyRead(rights)) writable.Add(name);
            }
        }
        // The node that makes terminals looks for them beside itself.
        if (plan.Has(HostAccessKind.Terminal))
        {
            all.Add("/dev");
            writable.Add("/dev");
        }
        string[] directories = [.. all.Where(Directory.Exists)];
        foreach (string path in all.Order(StringComparer.Ordinal))
        {
            // A directory has what is in it with it, for as much as may be done there.
            bool isReadOnly = !writable.Contains(path);
            if (directories.Any(other => other != path && IsBelow(path, other) && (isReadOnly || writable.Contains(other)))) continue;
            if (NamespaceCalls.CloneTree(path) is not { } tree) continue;
            if (isReadOnly) _ = NamespaceCalls.MakeReadOnly(tree);
            yield return new Taken(path, Directory.Exists(path), tree);
        }
    }

    private static string RealPath(string path)
    {
        using OwnedFd? file = SandboxCalls.NameFile(path, out _);
        return file is not null && new FileInfo($"/proc/self/fd/{file.Number}").LinkTarget is ['/', ..] real ? real : path;
    }

    /// <summary>Names of this process's own descriptors.</summary>
    private static bool IsMadeAnew(string path) => IsBelow(path, "/dev/fd") || path is "/dev/stdin" or "/dev/stdout" or "/dev/stderr";

    /// <summary>Of sockets that others make anew, and so of their directories.</summary>
    private static IEnumerable<string> SocketDirectories(SandboxPlan plan)
    {
        foreach (HostAccess access in plan.All)
            if (access.Kind == HostAccessKind.Connect && access.Path.Length > 0) yield return Landlock.DirectoryOf(access.Path);
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is ['/', ..] manager) yield return Landlock.DirectoryOf(manager);
        // A service reports to its journal (systemd.exec(5)).
        if (Environment.GetEnvironmentVariable("JOURNAL_STREAM") is not null) yield return "/run/systemd/journal";
    }

    private static bool TryFill(string place, List<Taken> all, string workingDirectory)
    {
        try
        {
            Directory.CreateDirectory(Below(place, workingDirectory));
            foreach ((string path, bool isDirectory, OwnedFd tree) in all)
            {
                string target = Below(place, path);
                if (!Path.Exists(target))
                {
                    Directory.CreateDirectory(isDirectory ? target : Path.GetDirectoryName(target)!);
                    if (!isDirectory) File.WriteAllBytes(target, []);
                }
                if (NamespaceCalls.Place(tree, target) != Errno.None) return false;
            }
            // As everywhere: options name standard streams and inherited descriptors so.
            string devices = Below(place, "/dev");
            foreach ((string name, string target) in
                (ReadOnlySpan<(string, string)>)[("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")])
            {
                string link = Path.Combine(devices, name);
                if (!Path.Exists(link)) File.CreateSymbolicLink(link, $"/proc/self/fd{target}");
            }
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string Below(string place, string path) => place + path;

    private static bool IsBelow(string path, string directory) =>
        path == directory || directory == "/" || path.StartsWith(directory + "/", StringComparison.Ordinal);

    /// <summary>Something that comes along.</summary>
    private sealed record Taken(string Path, bool IsDirectory, OwnedFd Tree);
}
