using System.Globalization;
using Vmm.Devices.Native;

namespace Vmm.Devices;

/// <summary>Who may connect to a socket that listens at a path. Both are in force before the first connection can be made.</summary>
public sealed record SocketAccess
{
    /// <summary>
    /// The permissions of the path (chmod(2)), whatever the process's umask is: who may write there may connect. Its owner alone by
    /// default.
    /// </summary>
    public UnixFileMode Mode { get; set; } = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>The group of the path, by name or number; null for the one that the file system gives it.</summary>
    public string? Group { get; set; }

    /// <summary>The number of <see cref="Group"/>; null if none is given. Looks the name up.</summary>
    /// <exception cref="IOException">This host has no such group.</exception>
    internal uint? GroupNumber()
    {
        if (Group is null) return null;
        if (uint.TryParse(Group, NumberStyles.None, CultureInfo.InvariantCulture, out uint number)) return number;
        if (SandboxCalls.TryFindGroup(Group, out number)) return number;
        throw new IOException($"this host has no group '{Group}': name another one, or give its number "
            + "(a limit's group stands behind its limit, as in limit=iops=500,limit=group=NAME)");
    }
}
