using System.Collections;

namespace Vmm.Events.Generators;

/// <summary>An immutable list that equals another with equal elements, so that the compiler can see whether a model changed.</summary>
internal readonly struct Sequence<T>(IReadOnlyList<T> items) : IEquatable<Sequence<T>>, IReadOnlyList<T>
{
    private readonly IReadOnlyList<T>? _items = items;

    public int Count => Items.Count;

    public T this[int index] => Items[index];

    private IReadOnlyList<T> Items => _items ?? [];

    public bool Equals(Sequence<T> other) => Items.SequenceEqual(other.Items);

    public override bool Equals(object? obj) => obj is Sequence<T> other && Equals(other);

    public override int GetHashCode() => Items.Aggregate(Items.Count, (hash, item) => hash * 31 + (item?.GetHashCode() ?? 0));

    public IEnumerator<T> GetEnumerator() => Items.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
