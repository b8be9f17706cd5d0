using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>A snapshot that is a difference is read with those that it is one to.</summary>
internal static class SnapshotChain
{
    /// <summary>
    /// What reading a snapshot needs of the host. One that is no snapshot needs its directory: what is wrong is said by its reader.
    /// </summary>
    internal static IReadOnlyList<HostAccess> HostAccesses(string directory)
    {
        List<HostAccess> chain = [new(HostAccessKind.Read, Path.TrimEndingDirectorySeparator(directory))];
        try
        {
            for (MachineSnapshot? each = MachineSnapshot.Open(directory).Base; each is not null; each = each.Base)
                chain.Add(new HostAccess(HostAccessKind.Read, each.Directory));
        }
        catch (Exception unreadable) when (unreadable is IOException or StateException)
        {
        }
        return chain;
    }
}
