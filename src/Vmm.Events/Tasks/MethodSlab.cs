namespace Vmm.Events.Tasks;

/// <summary>The free cells of one async method in one reactor, the last to come back first.</summary>
internal sealed class MethodSlab<TCell> where TCell : TaskCell
{
    private TCell[] _free = new TCell[16];
    private int _count;

    internal bool IsEmpty => _count == 0;

    internal TCell Take() => _free[--_count];

    internal void Return(TCell cell)
    {
        if (_count == _free.Length) Array.Resize(ref _free, _count * 2);
        ref TCell place = ref _free[_count++];
        // Mostly the one that was taken from here: a store of a reference costs more than a look.
        if (place != cell) place = cell;
    }
}
