using Vmm.Events.Native;

namespace Vmm.Events;

// Handlers that ended their turn with work left: they are called in the next one without a word to the kernel.
public sealed partial class Reactor
{
    private const uint NothingReported = 0;

    /// <summary>Room for the usual number from the start, so that a reactor that runs allocates nothing for the first.</summary>
    private const int AgainUsual = 16;

    private Subscription[] _again = new Subscription[AgainUsual];
    private ReadyEvent[] _againBatch = new ReadyEvent[AgainUsual];
    private int _againCount;

    /// <inheritdoc/>
    public void DispatchAgain(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.Registrar != this)
            throw new InvalidOperationException($"{subscription.Name} is not registered in reactor '{Name}'");
        if ((subscription.Interest.Bits & Interest.OneShotMask) != 0)
            throw new InvalidOperationException($"{subscription.Name} is one-shot: modify it, and the next event calls its handler");
        if (subscription.IsDueAgain) return;
        subscription.IsDueAgain = true;
        if (_againCount == _again.Length)
        {
            Array.Resize(ref _again, 2 * _againCount);
            _againBatch = new ReadyEvent[_again.Length];
        }
        _again[_againCount++] = subscription;
    }

    private void DispatchWithAgain(ReadOnlySpan<ReadyEvent> batch)
    {
        ReadOnlySpan<ReadyEvent> again = TakeAgain();
        Dispatch(batch);
        Dispatch(again);
    }

    /// <summary>What was asked for so far, as events. Those that are asked for from now on are of the next turn.</summary>
    private ReadOnlySpan<ReadyEvent> TakeAgain()
    {
        // A handler that asks for more than there is room for makes another batch; this one is kept by those who handle it.
        ReadyEvent[] batch = _againBatch;
        int taken = 0;
        foreach (Subscription subscription in _again.AsSpan(0, _againCount))
        {
            // False if it was removed meanwhile; then it may be another reactor's by now.
            if (subscription.Registrar != this || !subscription.IsDueAgain) continue;
            subscription.IsDueAgain = false;
            batch[taken++] = new ReadyEvent { Events = NothingReported, Data = ThinPointer.To(ref _slots[subscription.SlotIndex]) };
        }
        Array.Clear(_again, 0, _againCount);
        _againCount = 0;
        return batch.AsSpan(0, taken);
    }
}
