namespace Vmm.Devices;

/// <summary>Something whose state can be looked at while it runs.</summary>
public interface IInspectable
{
    /// <summary>Describes the state now. On the thread of the reactor that owns it.</summary>
    void Inspect(InspectNode node);
}

/// <summary>
/// A node of the tree that shows what is there: named values, and named nodes below. Filled by one thread, then only read.
/// </summary>
public sealed class InspectNode
{
    private readonly List<KeyValuePair<string, object>> _entries = [];

    /// <summary>Values (<see cref="string"/>, <see cref="long"/>, <see cref="bool"/>) and nodes, in the order they were added.</summary>
    public IReadOnlyList<KeyValuePair<string, object>> Entries => _entries;

    /// <summary>Adds a text.</summary>
    public void Add(string name, string value) => AddEntry(name, value);

    /// <summary>Adds a number.</summary>
    public void Add(string name, long value) => AddEntry(name, value);

    /// <summary>Adds a truth.</summary>
    public void Add(string name, bool value) => AddEntry(name, value);

    /// <summary>Adds a node below.</summary>
    public InspectNode AddNode(string name)
    {
        InspectNode node = new();
        AddEntry(name, node);
        return node;
    }

    private void AddEntry(string name, object value)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(value);
        _entries.Add(new KeyValuePair<string, object>(name, value));
    }
}
