namespace Vmm.Events;

/// <summary>Handlers that ended their turn with work left: they are called in the next one without a word to the kernel.</summary>
internal sealed class AgainList
{
    private const uint NothingReported = 0;

    /// <summary>Room for the usual number from the start, so that a reactor that runs allocates nothing for the first.</summary>
    private const int UsualCount = 16;

    private Subscription[] _due = new Subscription[UsualCount];
    private ReadyEvent[] _batch = new ReadyEvent[UsualCount];
    private int _count;

    internal bool HasAny => _count > 0;

    internal void Add(Subscription subscription)
    {
        if (subscription.IsDueAgain) return;
        subscription.IsDueAgain = true;
        if (_count == _due.Length)
        {
            Array.Resize(ref _due, 2 * _count);
            _batch = new ReadyEvent[_due.Length];
        }
        _due[_count++] = subscription;
    }

    /// <summary>
    /// What was asked for so far, as events of the reactor's slots. What is asked for from now on is of the next turn. A handler that asks
    /// for more than there is room for makes another batch; this one is kept by those who handle it.
    /// </summary>
    internal ReadOnlySpan<ReadyEvent> Take(Reactor reactor, SlotTable slots)
    {
        ReadyEvent[] batch = _batch;
        int taken = 0;
        foreach (Subscription subscription in _due.AsSpan(0, _count))
        {
            // False if it was removed meanwhile; then it may be another reactor's by now.
            if (subscription.Registrar != reactor || !subscription.IsDueAgain) continue;
            subscription.IsDueAgain = false;
            batch[taken++] = new ReadyEvent { Events = NothingReported, Data = ThinPointer.To(ref slots[subscription.SlotIndex]) };
        }
        Array.Clear(_due, 0, _count);
        _count = 0;
        return batch.AsSpan(0, taken);
    }
}
