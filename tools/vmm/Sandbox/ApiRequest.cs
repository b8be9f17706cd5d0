using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>What a request to the API names of the host, read by a broker before the API itself sees it.</summary>
internal static class ApiRequest
{
    private const int HeadBytesMax = 16 * 1024, BodyBytesMax = 64 * 1024;

    private static ReadOnlySpan<byte> DeviceLine => "POST /v1/devices "u8;

    private static ReadOnlySpan<byte> MediumLine => "PATCH /v1/devices/"u8;

    private static ReadOnlySpan<byte> SnapshotLine => "POST /v1/machine/snapshot "u8;

    /// <summary>What the first request of a connection names; nothing if it is none that names something, or makes no sense.</summary>
    /// <param name="bytes">The connection's first bytes.</param>
    /// <param name="isServed">Whether its devices are served at sockets.</param>
    /// <returns>Null if it is not whole yet.</returns>
    internal static IReadOnlyList<HostAccess>? Named(ReadOnlySpan<byte> bytes, bool isServed)
    {
        Func<ReadOnlySpan<byte>, IEnumerable<HostAccess>>? named = Begins(bytes, SnapshotLine) ? BySnapshot
            : Begins(bytes, MediumLine) ? ByChange
            : Begins(bytes, DeviceLine) ? body => ByDevice(body, isServed) : null;
        if (named is null) return [];
        int head = bytes.IndexOf("\r\n\r\n"u8);
        if (head < 0) return bytes.Length < HeadBytesMax ? null : [];
        ReadOnlySpan<byte> body = bytes[(head + 4)..];
        long? length = null;
        bool isChunked = false;
        foreach (string line in Encoding.ASCII.GetString(bytes[..head]).Split("\r\n"))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0) continue;
            string value = line[(colon + 1)..].Trim();
            if (line.AsSpan(0, colon).Equals("content-length", StringComparison.OrdinalIgnoreCase))
                length = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : -1;
            else if (line.AsSpan(0, colon).Equals("transfer-encoding", StringComparison.OrdinalIgnoreCase))
                isChunked = value.Equals("chunked", StringComparison.OrdinalIgnoreCase);
            // It waits for an answer before it sends the body.
            else if (line.AsSpan(0, colon).Equals("expect", StringComparison.OrdinalIgnoreCase)) return [];
        }
        if (isChunked) return Unchunk(body) is { } whole ? NamedBy(whole, named) : null;
        if (length is null or < 0 or > BodyBytesMax) return [];
        return body.Length < length ? null : NamedBy(body[..(int)length], named);
    }

    /// <summary>Whether what has come so far may be a request's beginning.</summary>
    private static bool Begins(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> request) =>
        request.StartsWith(bytes[..Math.Min(bytes.Length, request.Length)]);

    /// <summary>A body in pieces (RFC 9112, 7.1); null if it is not whole yet, and nothing if it makes no sense.</summary>
    private static byte[]? Unchunk(ReadOnlySpan<byte> rest)
    {
        List<byte> whole = [];
        while (true)
        {
            int end = rest.IndexOf("\r\n"u8);
            if (end < 0) return null;
            if (!int.TryParse(rest[..end], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int size)
                || size is < 0 or > BodyBytesMax) return [];
            if (size == 0) return [.. whole];
            rest = rest[(end + 2)..];
            if (rest.Length < size + 2) return null;
            whole.AddRange(rest[..size]);
            rest = rest[(size + 2)..];
        }
    }

    private static IReadOnlyList<HostAccess> NamedBy(ReadOnlySpan<byte> body, Func<ReadOnlySpan<byte>, IEnumerable<HostAccess>> named)
    {
        try
        {
            return [.. named(body)];
        }
        catch (Exception senseless) when (senseless is JsonException or ArgumentException)
        {
            return [];
        }
    }

    private static IEnumerable<HostAccess> BySnapshot(ReadOnlySpan<byte> body)
    {
        NewSnapshot? save = JsonSerializer.Deserialize(body, ApiJson.Readable.NewSnapshot);
        if (save is null || !Path.IsPathFullyQualified(save.Directory)) return [];
        HostAccess directory = new(HostAccessKind.Save, Path.TrimEndingDirectorySeparator(save.Directory));
        return save.Base is { } from ? [directory, .. SnapshotChain.HostAccesses(from)] : [directory];
    }

    /// <summary>Another medium of a disk: the request does not say whether the disk is read-only.</summary>
    private static IEnumerable<HostAccess> ByChange(ReadOnlySpan<byte> body) =>
        JsonSerializer.Deserialize(body, ApiJson.Readable.DeviceChange)?.Medium is { Length: > 0 } medium
            ? new DiskSpec { Path = medium }.HostAccesses() : [];

    private static IEnumerable<HostAccess> ByDevice(ReadOnlySpan<byte> body, bool isServed)
    {
        if (JsonSerializer.Deserialize(body, ApiJson.Readable.NewDevice) is not { } asked) return [];
        List<string> refusals = [];
        DeviceOption option = new(ControlledMachine.KindOf(asked), isServed);
        RequestedDevice? device = isServed ? option.Serve(asked.Options, 0, refusals.Add) : option.Plug(asked.Options, 0, refusals.Add);
        if (device is null || refusals.Count > 0) return [];
        // What goes wrong is said by the API, which finds nothing there.
        try
        {
            device.Spec.Prepare(_ => { });
        }
        catch (IOException)
        {
        }
        return
        [
            .. device.Spec.HostAccesses(),
            .. device.Socket is { Descriptor: null } socket ? [new(HostAccessKind.Listen, socket.Path)] : (HostAccess[])[],
        ];
    }
}
