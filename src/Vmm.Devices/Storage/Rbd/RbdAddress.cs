namespace Vmm.Devices;

/// <summary>An image of a Ceph cluster, or a snapshot of one: <c>rbd:POOL[/NAMESPACE]/IMAGE[@SNAP][?conf=…&amp;id=…]</c>.</summary>
internal sealed record RbdAddress : DiskAddress
{
    /// <summary>The URI, for messages.</summary>
    internal required string Text { get; init; }

    internal required string Pool { get; init; }

    /// <summary>Empty for the pool's own images.</summary>
    internal required string Namespace { get; init; }

    internal required string Image { get; init; }

    /// <summary>Null for the image itself.</summary>
    internal string? Snapshot { get; init; }

    /// <summary>The cluster's configuration file; null for where librados looks: CEPH_CONF, then /etc/ceph/ceph.conf.</summary>
    internal string? Configuration { get; init; }

    /// <summary>The user without <c>client.</c>; null for <c>admin</c>.</summary>
    internal string? User { get; init; }

    internal override bool IsRemote => true;

    // What a cluster's configuration names (keyrings, monitors, ports) is librbd's to read.
    internal override IEnumerable<HostAccess> HostAccesses(bool readOnly)
    {
        string? configuration = Configuration ?? Environment.GetEnvironmentVariable("CEPH_CONF");
        string? folder = configuration is null ? null : System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(configuration));
        return
        [
            new(HostAccessKind.Libraries), new(HostAccessKind.ConnectTcp), new(HostAccessKind.Connect),
            new(HostAccessKind.Read, "/etc"), new(HostAccessKind.Read, "/var/lib/ceph"), new(HostAccessKind.Read, folder ?? "/etc/ceph"),
        ];
    }

    internal static RbdAddress Parse(string text, string rest)
    {
        int question = rest.IndexOf('?', StringComparison.Ordinal);
        Dictionary<string, string> values = Query(text, question < 0 ? "" : rest[(question + 1)..], "conf", "id");
        string name = question < 0 ? rest : rest[..question];
        int at = name.IndexOf('@', StringComparison.Ordinal);
        string? snapshot = at < 0 ? null : Decoded(text, name[(at + 1)..]);
        string[] parts = [.. (at < 0 ? name : name[..at]).Split('/').Select(part => Decoded(text, part))];
        if (snapshot is "" || parts.Length is < 2 or > 3 || parts.Any(part => part.Length == 0) || name.IndexOf('@', at + 1) >= 0)
            throw Refused(text, "write rbd:POOL/IMAGE, with rbd:POOL/NAMESPACE/IMAGE and @SNAPSHOT where there is one; %40 is an "
                + "'@', %2F a '/' in a name");
        return new RbdAddress
        {
            Text = text,
            Pool = parts[0],
            Namespace = parts.Length == 3 ? parts[1] : "",
            Image = parts[^1],
            Snapshot = snapshot,
            Configuration = values.GetValueOrDefault("conf"),
            User = values.GetValueOrDefault("id"),
        };
    }
}
