using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The options that describe a machine's devices as they are now, after some came and some went: what a process is started with that goes
/// on from a snapshot of it. Thread-safe.
/// </summary>
/// <param name="others">Words that belong to no device.</param>
internal sealed class DeviceWords(IReadOnlyList<string> others)
{
    /// <summary>More than any machine has devices, or names had one that came and went.</summary>
    private const int NumbersMax = 1024;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, (int Kind, int Number, IReadOnlyList<string> Words)> _devices = [];

    /// <summary>The words, by kind and number of the device.</summary>
    internal IReadOnlyList<string> All
    {
        get
        {
            lock (_lock)
            {
                return
                [
                    .. others,
                    .. _devices.Values.OrderBy(each => each.Kind).ThenBy(each => each.Number).SelectMany(each => each.Words),
                ];
            }
        }
    }

    /// <summary>A device came.</summary>
    internal void Add(DeviceKind kind, string name, IReadOnlyList<string> words)
    {
        int number = Enumerable.Range(0, NumbersMax).FirstOrDefault(each => kind.DeviceName(each) == name);
        lock (_lock) _devices[name] = (DeviceKinds.All.ToList().IndexOf(kind), number, words);
    }

    /// <summary>A device went.</summary>
    internal void Remove(string name)
    {
        lock (_lock) _devices.Remove(name);
    }

    /// <summary>Names of one kind among those of a snapshot, by number: what devices are called that are given in that order.</summary>
    internal static IReadOnlyList<string> Names(DeviceKind kind, IReadOnlyCollection<string> saved) =>
        [.. Enumerable.Range(0, NumbersMax).Select(kind.DeviceName).Where(saved.Contains)];
}
