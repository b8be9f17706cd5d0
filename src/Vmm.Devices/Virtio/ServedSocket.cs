using System.Globalization;

namespace Vmm.Devices;

/// <summary>Where front-ends of a served device connect: <c>socket=S[,mode=MODE][,group=NAME]</c> or <c>fd=N</c>.</summary>
internal sealed record ServedSocket
{
    /// <summary>The text that describes it.</summary>
    internal const string Syntax = "socket=S|fd=N[,mode=MODE][,socket-group=NAME]";

    private const string PathKey = "socket", DescriptorKey = "fd", ModeKey = "mode", GroupKey = "socket-group", ShortGroupKey = "group";
    private const int FirstDescriptor = 3;
    private const int AllModes = 0x1ff; // 0777

    /// <summary>Where to listen, at most 107 bytes; empty for a socket that this process was given.</summary>
    internal string Path { get; init; } = "";

    /// <summary>Who may connect there.</summary>
    internal SocketAccess Access { get; init; } = new();

    /// <summary>
    /// The number of a Unix stream socket that this process was started with, which listens or is connected to a front-end; null for one
    /// that it makes itself.
    /// </summary>
    internal int? Descriptor { get; init; }

    public override string ToString() => Descriptor is { } number ? string.Create(CultureInfo.InvariantCulture, $"fd {number}") : Path;

    /// <summary>Takes it out of a text whose rest describes the device; null if the text names no socket.</summary>
    /// <param name="text">Gets the rest.</param>
    /// <param name="first">The key that may be left out where a text begins with its value.</param>
    /// <exception cref="DeviceSpecException">It makes no sense.</exception>
    internal static ServedSocket? Take(ref string text, string? first)
    {
        string whole = text;
        Dictionary<string, string> taken = [];
        List<string> rest = [];
        bool isBehindSocket = false, tookFirst = false;
        foreach (string part in SpecText.Split(text))
        {
            string? key = KeyOf(part, isBehindSocket);
            isBehindSocket = key is not null;
            if (key is null)
            {
                rest.Add(part);
                continue;
            }
            // Only what stood first before is a value without a key.
            tookFirst |= rest.Count == 0;
            if (!taken.TryAdd(key, part[(part.IndexOf('=', StringComparison.Ordinal) + 1)..])) throw Refused($"'{key}' is given twice");
        }
        string? path = taken.GetValueOrDefault(PathKey), descriptor = taken.GetValueOrDefault(DescriptorKey);
        if (path is null && descriptor is null) return null;
        text = SpecText.Join(rest, tookFirst ? first : null);
        if (path is "") return null;
        if (path is not null && descriptor is null) return new ServedSocket { Path = path, Access = Access() };
        if (taken.Count > 1) throw Refused("'fd=N' is a socket that is there already: leave out socket, mode and group");
        return new ServedSocket
        {
            Descriptor = int.TryParse(descriptor, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
                && number >= FirstDescriptor ? number
                    : throw Refused($"'fd={descriptor}': give the number of a descriptor, {FirstDescriptor} or more"),
        };

        SocketAccess Access()
        {
            SocketAccess access = new() { Group = taken.GetValueOrDefault(GroupKey) };
            if (access.Group is "") throw Refused("the value of 'group' is missing");
            if (taken.GetValueOrDefault(ModeKey) is { } mode) access.Mode = ModeOf(mode) ?? throw Refused(
                $"'mode={mode}': give permissions in octal digits, from 0600 to 0777, such as 0660");
            return access;
        }

        DeviceSpecException Refused(string why) => new($"'{whole}': {why}");
    }

    /// <summary>
    /// The key of a part that is about the socket. A limit has a group too, so a bare 'group' is the socket's right behind it only.
    /// </summary>
    private static string? KeyOf(string part, bool isBehindSocket)
    {
        int equals = part.IndexOf('=', StringComparison.Ordinal);
        string key = equals > 0 ? part[..equals] : "";
        if (key == ShortGroupKey) return isBehindSocket ? GroupKey : null;
        return key is PathKey or DescriptorKey or ModeKey or GroupKey ? key : null;
    }

    /// <summary>Its owner needs both rights, and more than permissions is refused.</summary>
    private static UnixFileMode? ModeOf(string text)
    {
        const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        if (text.Length is 0 or > 4 || text.Any(digit => digit is < '0' or > '7')) return null;
        UnixFileMode mode = (UnixFileMode)Convert.ToInt32(text, 8);
        return (mode & Owner) == Owner && ((int)mode & ~AllModes) == 0 ? mode : null;
    }
}
