using System.Globalization;

namespace Vmm.Devices.Sandbox;

/// <summary>User, capabilities and limits of a process that gives up its rights.</summary>
internal static class Privileges
{
    private const int ChangeOwner = 0, DacOverride = 1, NetAdmin = 12;

    /// <summary>SECBIT_NOROOT and SECBIT_NO_CAP_AMBIENT_RAISE, each with its lock: root is a user like any other.</summary>
    private const uint RootIsNoOne = 0b11 | 0b11 << 6;

    private const uint OwnerOnly = 0x3f; // 077

    /// <summary>Becomes the plan's user, for good.</summary>
    /// <exception cref="ArgumentException">There is no such user.</exception>
    /// <exception cref="KernelException">This process may not become another.</exception>
    internal static void BecomeUser(SandboxPlan plan)
    {
        if (plan.User is null) return;
        (uint user, uint group) = Find(plan.User);
        Errno error = SandboxCalls.BecomeUser(user, group);
        if (error != Errno.None)
            throw new KernelException($"cannot become user {user}", error, "only root may: start it as that user, or leave out --user");
    }

    /// <summary>Makes the files that a plan writes to the end of, as its user: a rule is for a file that is there.</summary>
    /// <exception cref="ArgumentException">There is no such user.</exception>
    internal static void MakeFilesAsUser(SandboxPlan plan)
    {
        string[] missing = [.. plan.Accesses.Where(access => access.Kind == HostAccessKind.Append && !Path.Exists(access.Path))
            .Select(access => access.Path)];
        if (missing.Length == 0) return;
        (uint User, uint Group)? user = plan.User is null ? null : Find(plan.User);
        (uint User, uint Group) before = user is { } other ? SandboxCalls.ActAs(other.User, other.Group) : default;
        foreach (string path in missing)
        {
            // What cannot be made is refused in the words of the device that opens it.
            try
            {
                SerialOutput.AppendTo(path).Dispose();
            }
            catch (KernelException)
            {
            }
        }
        if (user is not null) _ = SandboxCalls.ActAs(before.User, before.Group);
    }

    /// <summary>The capabilities that a plan cannot do without, as far as this thread has them.</summary>
    internal static ulong KeptCapabilities(SandboxPlan plan)
    {
        ulong permitted = SandboxCalls.PermittedCapabilities();
        return permitted & (plan.User is null ? Needed(plan, permitted) : 0);
    }

    /// <summary>Gives up every capability but some, in the calling thread and in those that it starts.</summary>
    internal static void DropCapabilities(ulong keep)
    {
        SandboxCalls.ClearAmbientSet();
        SandboxCalls.DropBoundingSet(keep);
        if (keep == 0) SandboxCalls.SetSecureBits(RootIsNoOne);
        _ = SandboxCalls.SetCapabilities(keep, keep);
    }

    /// <summary>Limits what needs no more than it has, and has new files be this user's alone.</summary>
    internal static void Limit(SandboxPlan plan)
    {
        _ = SandboxCalls.SetFileMask(OwnerOnly);
        if (!plan.KeepsCore) LimitCalls.Set(LimitCalls.RLIMIT_CORE, 0);
        LimitCalls.Set(LimitCalls.RLIMIT_MSGQUEUE, 0);
        LimitCalls.Set(LimitCalls.RLIMIT_RTPRIO, 0);
    }

    /// <summary>
    /// A file of another user is opened by CAP_DAC_OVERRIDE only, and a TAP interface that is not there or is another user's by
    /// CAP_NET_ADMIN. Asked without them. A socket goes to a group by CAP_CHOWN; no system call that uses it is allowed later.
    /// </summary>
    private static ulong Needed(SandboxPlan plan, ulong permitted)
    {
        if (permitted == 0) return 0;
        _ = SandboxCalls.SetCapabilities(effective: 0, permitted);
        HostAccess[] all = [.. plan.Accesses, .. plan.Opened];
        bool files = all.Any(IsForbidden) || IsForbidden("/proc/self/fd/0", SandboxCalls.R_OK)
            || IsForbidden("/proc/self/fd/1", SandboxCalls.W_OK) || IsForbidden("/proc/self/fd/2", SandboxCalls.W_OK);
        _ = SandboxCalls.SetCapabilities(effective: permitted, permitted);
        bool interfaces = all.Any(access => access.Kind == HostAccessKind.Tap && !IsOurs(access.Path));
        return (plan.GivesGroups ? 1ul << ChangeOwner : 0) | (files ? 1ul << DacOverride : 0) | (interfaces ? 1ul << NetAdmin : 0);
    }

    private static bool IsForbidden(HostAccess access) => access.Kind switch
    {
        HostAccessKind.Read => IsForbidden(access.Path, SandboxCalls.R_OK),
        HostAccessKind.Write => IsForbidden(access.Path, SandboxCalls.R_OK | SandboxCalls.W_OK),
        HostAccessKind.Append => IsForbidden(access.Path, SandboxCalls.W_OK),
        HostAccessKind.Connect when access.Path.Length > 0 => IsForbidden(access.Path, SandboxCalls.W_OK),
        HostAccessKind.Listen => IsForbidden(Landlock.DirectoryOf(access.Path), SandboxCalls.W_OK | SandboxCalls.X_OK),
        _ => false,
    };

    private static bool IsForbidden(string path, int mode) =>
        !SandboxCalls.MayAccess(path, mode, out Errno error) && error == Errno.AccessDenied;

    /// <summary>Whether an interface can be attached to without privilege: it names no other user and no other group.</summary>
    private static bool IsOurs(string name) => IsFree(name, "owner") && IsFree(name, "group");

    private static bool IsFree(string name, string attribute)
    {
        try
        {
            return File.ReadAllText($"/sys/class/net/{name}/{attribute}").Trim() is "-1" or "0" or "4294967295";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>A user as <see cref="SandboxPlan.User"/> in numbers, which need no lookup.</summary>
    /// <exception cref="ArgumentException">There is no such user.</exception>
    internal static string NumbersOf(string text)
    {
        (uint user, uint group) = Find(text);
        return string.Create(CultureInfo.InvariantCulture, $"{user}:{group}");
    }

    private static (uint User, uint Group) Find(string text)
    {
        string[] parts = text.Split(':');
        bool hasGroup = parts.Length == 2, isNumber = TryParse(parts[0], out uint user);
        uint group = 0;
        if (!isNumber && !SandboxCalls.TryFindUser(parts[0], out user, out group))
            throw new ArgumentException($"'{text}': there is no user '{parts[0]}': name another one, or give UID:GID");
        if (isNumber) group = user;
        return !hasGroup || TryParse(parts[1], out group) ? (user, group)
            : throw new ArgumentException($"'{text}': '{parts[1]}' is no number of a group: give UID:GID");
    }

    private static bool TryParse(string text, out uint number) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
