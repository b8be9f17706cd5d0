using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The options of a machine, changed for a clone of it: what only one process can have, and what the two must not share.
/// </summary>
/// <param name="number">Of the clone, from 1.</param>
/// <param name="directory">The clone's own: its images, sockets and logs are there.</param>
/// <param name="snapshot">What it goes on from; it has the disks.</param>
/// <param name="names">The names of the devices there.</param>
internal sealed class CloneOptions(int number, string directory, string snapshot, IReadOnlyCollection<string> names)
{
    private readonly Dictionary<DeviceKind, int> _counts = [];

    /// <summary>The clone's own directory.</summary>
    internal string Directory => directory;

    /// <summary>What it goes on from.</summary>
    internal string Snapshot => snapshot;

    /// <summary>The words of the clone's command line.</summary>
    /// <param name="words">Those of the machine's.</param>
    internal IEnumerable<string> Of(IEnumerable<string> words) => words.Select(Of).ToArray();

    private string Of(string word)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        if (equals < 0 || DeviceKinds.All.FirstOrDefault(each => $"--{each.Name}" == word[..equals]) is not { } kind) return word;
        string text = word[(equals + 1)..];
        if (kind.IsSwitch && bool.TryParse(text, out _)) return word;
        int index = _counts[kind] = _counts.GetValueOrDefault(kind, -1) + 1;
        return word[..(equals + 1)] + kind.Join(Changed(kind, index, kind.Split(text)));
    }

    private IEnumerable<KeyValuePair<string, string?>> Changed(
        DeviceKind kind, int index, IReadOnlyList<KeyValuePair<string, string?>> parts)
    {
        bool isDisk = kind == DiskSpec.Kind, isWritten = isDisk && parts.All(part => part.Key != "ro");
        if (kind == NetSpec.Kind) yield return KeyValuePair.Create("mac", (string?)MacAddress.Random().ToString());
        foreach ((string key, string? value) in parts)
        {
            switch (key)
            {
                case "path" when isWritten:
                    IReadOnlyList<string> own = DeviceWords.Names(kind, names);
                    string name = index < own.Count ? own[index] : kind.DeviceName(index);
                    yield return Own(key, $"{name}.img");
                    yield return KeyValuePair.Create("from", (string?)Path.Combine(snapshot, SavedDiskName(name)));
                    break;
                case "mac" or "from" or "temporary":
                    break;
                case "tap":
                    yield return KeyValuePair.Create(key, (string?)string.Create(CultureInfo.InvariantCulture, $"{value}-{number}"));
                    break;
                case "cid" when uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out uint cid):
                    yield return KeyValuePair.Create(key, (string?)(cid + (uint)number).ToString(CultureInfo.InvariantCulture));
                    break;
                case "uds" or "socket" or "control" or "file" or "pcap":
                    yield return Own(key, $"{kind.Name}{index}.{(key is "uds" or "socket" ? "sock" : key)}");
                    break;
                // The terminal is the first machine's.
                case "terminal":
                    yield return KeyValuePair.Create("pty", (string?)null);
                    break;
                default:
                    yield return KeyValuePair.Create(key, value);
                    break;
            }
        }
    }

    private KeyValuePair<string, string?> Own(string key, string name) =>
        KeyValuePair.Create(key, (string?)Path.Combine(directory, name));

    private static string SavedDiskName(string disk) => $"disk-{disk}";
}
