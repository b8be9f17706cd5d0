namespace Vmm.Events;

/// <summary>
/// An unbounded queue of many producers and one consumer whose links are in its entries. A push is one exchange and one store;
/// a pop takes no interlocked operation but at the last entry.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 3 * CacheLine.Bytes)]
internal sealed class RemoteQueue
{
    [FieldOffset(0)]
    private readonly Stub _stub = new();

    /// <summary>The consumer's alone, away from what producers read.</summary>
    [FieldOffset(CacheLine.Bytes)]
    private RemoteCall _head;

    internal RemoteQueue() => _head = _stub.Last = _stub;

    internal void Push(RemoteCall call) => Link(TakePlace(call), call);

    /// <summary>The first half of a push, a full fence: the entry has its place, and the consumer cannot reach it yet.</summary>
    /// <returns>The entry before it.</returns>
    internal RemoteCall TakePlace(RemoteCall call)
    {
        call.Next = null;
        return Interlocked.Exchange(ref _stub.Last, call);
    }

    /// <summary>The second half.</summary>
    internal static void Link(RemoteCall previous, RemoteCall call) => Volatile.Write(ref previous.Next, call);

    /// <summary>The oldest entry; null if there is none, or if its producer is still linking it.</summary>
    internal RemoteCall? Pop()
    {
        RemoteCall head = _head;
        RemoteCall? next = Volatile.Read(ref head.Next);
        if (head == _stub)
        {
            if (next is null) return null;
            _head = head = next;
            next = Volatile.Read(ref head.Next);
        }
        if (next is not null)
        {
            _head = next;
            return head;
        }
        if (head != Volatile.Read(ref _stub.Last)) return null;
        // The last entry can leave only when something follows it.
        Push(_stub);
        next = Volatile.Read(ref head.Next);
        if (next is null) return null;
        _head = next;
        return head;
    }

    /// <summary>Whether there is no entry, and no producer that is about to link one.</summary>
    internal bool IsUntouched => _head == _stub && Volatile.Read(ref _stub.Last) == _stub;

    /// <summary>Whether a pop would give something.</summary>
    internal bool HasEntry => _head != _stub || Volatile.Read(ref _stub.Next) is not null;

    /// <summary>
    /// What producers write, with room behind it: a push to an empty queue writes the link and the last entry, here beside each other.
    /// </summary>
    private sealed class Stub : RemoteCall
    {
        internal RemoteCall Last = null!;
#pragma warning disable CS0169, IDE0051, CA1823 // It is there to be empty.
        private readonly CacheLine _room;
#pragma warning restore CS0169, IDE0051, CA1823

        protected internal override void Run(IReactor reactor)
        {
        }
    }
}
