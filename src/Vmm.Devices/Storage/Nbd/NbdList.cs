namespace Vmm.Devices;

/// <summary>Transfers in the order they came in, linked by <see cref="NbdTransfer.Next"/>: each is in one list at most.</summary>
internal struct NbdList
{
    private NbdTransfer? _last;

    internal NbdTransfer? First { get; private set; }

    internal void Add(NbdTransfer transfer)
    {
        transfer.Next = null;
        if (_last is null) First = transfer; else _last.Next = transfer;
        _last = transfer;
    }

    internal NbdTransfer? Take()
    {
        if (First is not { } first) return null;
        First = first.Next;
        if (First is null) _last = null;
        first.Next = null;
        return first;
    }
}
