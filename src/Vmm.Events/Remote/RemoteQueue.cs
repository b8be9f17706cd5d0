namespace Vmm.Events;

/// <summary>
/// An unbounded queue of many producers and one consumer whose links are in its entries. A push is one exchange and one store;
/// a pop takes no interlocked operation but at the last entry.
/// </summary>
internal sealed class RemoteQueue
{
    private readonly Stub _stub = new();
    private RemoteCall _head;
    private RemoteCall _tail;

    internal RemoteQueue() => _head = _tail = _stub;

    internal void Push(RemoteCall call)
    {
        call.Next = null;
        RemoteCall previous = Interlocked.Exchange(ref _tail, call);
        Volatile.Write(ref previous.Next, call);
    }

    /// <summary>The oldest entry; null if there is none, or if its producer is still linking it (it will wake us when done).</summary>
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
        if (head != Volatile.Read(ref _tail)) return null;
        // The last entry can leave only when something follows it.
        Push(_stub);
        next = Volatile.Read(ref head.Next);
        if (next is null) return null;
        _head = next;
        return head;
    }

    /// <summary>Whether a pop would give something.</summary>
    internal bool HasEntry => _head != _stub || Volatile.Read(ref _stub.Next) is not null;

    private sealed class Stub : RemoteCall
    {
        protected internal override void Run(IReactor reactor)
        {
        }
    }
}
