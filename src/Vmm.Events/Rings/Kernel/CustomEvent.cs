using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Rings;

/// <summary>An operation of a user of the library, as the ring takes operations.</summary>
internal unsafe struct CustomEvent<TEvent, TResult>(TEvent ringEvent) : IBuiltInEvent<TResult> where TEvent : struct, IRingEvent<TResult>
{
    [SuppressMessage("Style", "IDE0044:Add readonly modifier",
        Justification = "An event may change itself when it prepares: calls on a readonly field would be on copies.")]
    private TEvent _event = ringEvent;

    public bool IsEager => _event.IsEager;

    public void Prepare(ref IoUringEntry entry)
    {
        RingEntry filled = default;
        // SAFETY: a local of the same layout as the entry, which is all that is handed out.
        _event.Prepare(&filled);
        entry = Unsafe.As<RingEntry, IoUringEntry>(ref filled);
    }

    public TResult Complete(int result) => _event.Complete(result);

    public RingCancellation Cancel() => _event.Cancel();
}
