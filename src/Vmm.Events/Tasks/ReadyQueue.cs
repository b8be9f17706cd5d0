namespace Vmm.Events.Tasks;

/// <summary>
/// The tasks that are to go on, the first to come first. A task is in it once at most, and <see cref="Reserve"/> has made room for all
/// there are, so queueing one can't fail. A place that holds the task already is not written again: a store of a reference costs more than
/// a look.
/// </summary>
internal sealed class ReadyQueue
{
    // In a struct: an array of objects would check the type of what is stored.
    private struct Place
    {
        internal TaskCell Cell;
    }

    private Place[] _places = new Place[16];
    private uint _first;
    private uint _end;

    internal int Count
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => (int)(_end - _first);
    }

    /// <summary>Makes room for so many tasks.</summary>
    internal void Reserve(int tasks)
    {
        int length = _places.Length;
        while (length < tasks) length *= 2;
        if (length == _places.Length) return;
        Place[] places = new Place[length];
        int count = Count;
        for (int i = 0; i < count; i++) places[i].Cell = Take();
        (_places, _first, _end) = (places, 0, (uint)count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Add(TaskCell cell)
    {
        Place[] places = _places;
        ref Place place = ref places[(int)(_end++ & (uint)(places.Length - 1))];
        if (place.Cell != cell) place.Cell = cell;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal TaskCell Take()
    {
        Place[] places = _places;
        return places[(int)(_first++ & (uint)(places.Length - 1))].Cell;
    }
}
