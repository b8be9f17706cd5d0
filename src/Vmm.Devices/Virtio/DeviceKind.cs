namespace Vmm.Devices;

/// <summary>A kind of device as programs and operators name it: what a text that describes one looks like, and how it is read.</summary>
internal sealed record DeviceKind
{
    /// <summary>The key that may be left out where a text begins with its value.</summary>
    private const string Path = "path";

    /// <summary>The word for it, on the command line <c>--</c> and this word.</summary>
    internal required string Name { get; init; }

    /// <summary>The word for it where devices are served over vhost-user, if that is another.</summary>
    internal string? ServedName { get; init; }

    /// <summary>What the text looks like, for help; it starts with <c>[</c> if it may be empty.</summary>
    internal required string Syntax { get; init; }

    /// <summary>A sentence for help.</summary>
    internal required string Description { get; init; }

    /// <summary>Whether a machine has one at most.</summary>
    internal bool IsSingle { get; init; }

    /// <summary>Whether the word alone, or <c>true</c>, asks for one, and <c>false</c> for none.</summary>
    internal bool IsSwitch { get; init; }

    /// <summary>Whether a machine of <c>vmm run</c> has one by default: it needs neither privilege nor a path.</summary>
    internal bool IsStandard { get; init; }

    /// <summary>Names the devices of a machine by number: <c>vda</c>, <c>rng0</c>.</summary>
    internal required Func<int, string> DeviceName { get; init; }

    /// <summary>
    /// Reads the texts for one machine; each is a device, unless the kind says otherwise. Throws <see cref="DeviceSpecException"/>.
    /// </summary>
    internal required Func<IReadOnlyList<string>, IReadOnlyList<DeviceSpec>> Parse { get; init; }

    /// <summary>
    /// Takes where the device is served over vhost-user (<see cref="ServedSocket.Syntax"/>) out of a text; the rest describes the device.
    /// </summary>
    /// <returns>Null if the text names no socket.</returns>
    /// <exception cref="DeviceSpecException">What it says of the socket makes no sense.</exception>
    internal ServedSocket? TakeSocket(ref string text) => ServedSocket.Take(ref text, First);

    /// <summary>Takes a text that describes a device apart: keys with their values, and flags with null.</summary>
    internal IReadOnlyList<KeyValuePair<string, string?>> Split(string text) => text.Length == 0 ? []
        : [.. SpecText.Parts(text, First, hasLimit: true).Select(part => KeyValuePair.Create(part.Name, part.Value))];

    /// <summary>Makes a text that describes a device: the reverse of <see cref="Split"/>.</summary>
    /// <param name="parts">Keys with their values, and flags with null.</param>
    internal string Join(IEnumerable<KeyValuePair<string, string?>> parts) =>
        SpecText.Join(parts.Select(part => (part.Key, part.Value)), First);

    private string? First => Syntax.StartsWith(Path + '=', StringComparison.Ordinal) ? Path : null;

    /// <summary>Reads texts that are a device each.</summary>
    internal static Func<IReadOnlyList<string>, IReadOnlyList<DeviceSpec>> Each(Func<string, DeviceSpec> parse) =>
        texts => [.. texts.Select(parse)];
}
