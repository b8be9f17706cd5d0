namespace Vmm.Events.Rings;

/// <summary>
/// Operations that were begun and wait: for room in the engine, or for the end of the chain that they are in. First in, first out; a chain
/// leaves as a whole.
/// </summary>
internal sealed class HeldOperations
{
    private const int NoChain = -1;

    private RingRequest? _last;

    /// <summary>The one that waits longest; null if none does.</summary>
    internal RingRequest? First { get; private set; }

    /// <summary>How many came so far.</summary>
    internal long Count { get; private set; }

    /// <summary>Operations of the open chain; negative if none is open.</summary>
    internal int OpenChain { get; private set; } = NoChain;

    internal bool IsChainOpen => OpenChain >= 0;

    /// <summary>Whether the open chain ends in an operation that could have a time limit.</summary>
    internal bool ChainCanBeLimited => OpenChain > 0 && _last!.Entry.Op != IoUringOp.LinkTimeout;

    internal void BeginChain() => OpenChain = 0;

    /// <summary>Makes an operation the next link of the open chain. It is added then.</summary>
    internal void Link(RingRequest request)
    {
        OpenChain++;
        request.Entry.Flags |= IoUringEntryFlags.Link;
    }

    internal void EndChain()
    {
        if (OpenChain > 0) _last!.Entry.Flags &= ~IoUringEntryFlags.Link;
        OpenChain = NoChain;
    }

    internal void Add(RingRequest request)
    {
        request.Slot = RingRequest.Held;
        request.NextHeld = null;
        if (_last is null) First = request; else _last.NextHeld = request;
        _last = request;
        Count++;
    }

    /// <summary>How many operations leave together next; there is one at least.</summary>
    internal int LengthOfFirstChain()
    {
        int length = 1;
        for (RingRequest request = First!; IsLinked(request) && request.NextHeld is { } next; request = next) length++;
        return length;
    }

    internal RingRequest Take()
    {
        RingRequest held = First!;
        First = held.NextHeld;
        if (First is null) _last = null;
        held.NextHeld = null;
        return held;
    }

    internal static bool IsLinked(RingRequest request) => (request.Entry.Flags & IoUringEntryFlags.Link) != 0;
}
