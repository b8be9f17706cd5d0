using System.Globalization;

namespace Vmm.Devices;

/// <summary>
/// Where a disk's sectors are, as an operator names it: a path, or a URI. A path whose beginning looks like a URI's is written with
/// <c>./</c> or <c>file:</c>.
/// </summary>
internal abstract record DiskAddress
{
    private const string File = "file:", Null = "null:", Memory = "memory:", Rbd = "rbd:";

    /// <summary>Largest disk that is named by its size: what the file behind <c>memory:</c> can have.</summary>
    private const long SizeMax = 1L << 46;

    /// <summary>The host's file; null if the disk is none.</summary>
    internal virtual string? FilePath => null;

    /// <summary>Whether it is reached over a connection that may break.</summary>
    internal virtual bool IsRemote => false;

    /// <summary>What of the host a disk there opens.</summary>
    internal virtual IEnumerable<HostAccess> HostAccesses(bool readOnly) => [];

    /// <summary>Reads a path or URI.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    internal static DiskAddress Parse(string text)
    {
        if (text.Length == 0) throw new DeviceSpecException("the disk has no path: name its image");
        if (text.Contains('\0', StringComparison.Ordinal)) throw new DeviceSpecException("the disk's name holds a zero byte: correct it");
        if (Rest(text, File) is { } path) return new FileAddress(PathOf(text, path));
        if (Rest(text, Null) is { } nothing) return new NullAddress(SizeOf(text, nothing));
        if (Rest(text, Memory) is { } memory) return new MemoryAddress(SizeOf(text, memory));
        if (Rest(text, Rbd) is { } image) return RbdAddress.Parse(text, image);
        int scheme = text.IndexOf("://", StringComparison.Ordinal);
        if (scheme < 0 || text.IndexOf('/', StringComparison.Ordinal) < scheme) return new FileAddress(text);
        return text[..scheme] switch
        {
            "nbd" or "nbds" or "nbd+unix" or "nbds+unix" => NbdAddress.Parse(text),
            _ => throw Refused(text, "there are file:PATH, nbd://, nbds://, nbd+unix://, nbds+unix://, rbd:POOL/IMAGE, null:SIZE and "
                + "memory:SIZE; "
                + "write ./ before a path that looks like one"),
        };
    }

    internal static DeviceSpecException Refused(string text, string why) => new($"disk '{text}': {why}");

    /// <summary>The parameters behind the question mark of a URI, decoded, each at most once.</summary>
    internal static Dictionary<string, string> Query(string text, string query, params ReadOnlySpan<string> known)
    {
        Dictionary<string, string> values = [];
        foreach (string part in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            if (!known.Contains(key)) throw Refused(text, $"unknown parameter '{key}', there are {string.Join(", ", known)}");
            if (equals < 0 || equals == part.Length - 1) throw Refused(text, $"the value of '{key}' is missing");
            if (!values.TryAdd(key, Decoded(text, part[(equals + 1)..]))) throw Refused(text, $"'{key}' is given twice");
        }
        return values;
    }

    /// <summary>A part of a URI without its percent signs.</summary>
    internal static string Decoded(string text, string part)
    {
        string decoded = Uri.UnescapeDataString(part);
        return decoded.Contains('\0', StringComparison.Ordinal) ? throw Refused(text, "a zero byte is in no name: leave out %00") : decoded;
    }

    private static string? Rest(string text, string scheme) => text.StartsWith(scheme, StringComparison.Ordinal)
        ? text[scheme.Length..] : null;

    /// <summary>The path of <c>file:a</c>, <c>file:/a</c> or <c>file:///a</c> (RFC 8089).</summary>
    private static string PathOf(string text, string rest)
    {
        string path = rest.StartsWith("//", StringComparison.Ordinal) ? rest[2..] : rest;
        if (path.Length == 0) throw Refused(text, "the path is missing");
        return rest.Length == path.Length || path[0] == '/' ? Decoded(text, path)
            : throw Refused(text, "a file of another host cannot be opened: write file:///PATH, or serve it there by NBD");
    }

    private static ulong SizeOf(string text, string size)
    {
        int shift = size.Length == 0 ? 0 : char.ToUpperInvariant(size[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => 0 };
        bool isNumber = long.TryParse(shift == 0 ? size : size[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out long units);
        if (!isNumber || units <= 0 || units > SizeMax >> shift) throw Refused(text, "give a size such as 64M or 1G, of at most 64T");
        ulong bytes = (ulong)units << shift;
        return bytes % BlockProtocol.SectorSize == 0 ? bytes : throw Refused(text, $"the size is no multiple of the "
            + $"{BlockProtocol.SectorSize}-byte sector");
    }
}

/// <summary>A raw image, or a block device of the host.</summary>
internal sealed record FileAddress(string Path) : DiskAddress
{
    internal override string FilePath => Path;

    // Whether a loop device of the host has the image, and what a block device can do, stands in sysfs.
    internal override IEnumerable<HostAccess> HostAccesses(bool readOnly) =>
    [
        new(readOnly ? HostAccessKind.Read : HostAccessKind.Write, Path),
        new(HostAccessKind.Read, "/sys/block"), new(HostAccessKind.Read, "/sys/dev/block"), new(HostAccessKind.Read, "/sys/devices"),
    ];
}

/// <summary>Reads as zero and keeps nothing.</summary>
internal sealed record NullAddress(ulong Bytes) : DiskAddress;

/// <summary>Kept in memory until it is closed.</summary>
internal sealed record MemoryAddress(ulong Bytes) : DiskAddress;
