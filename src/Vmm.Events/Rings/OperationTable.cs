using System.Diagnostics;

namespace Vmm.Events.Rings;

/// <summary>
/// The operations that the engine has, each in a numbered place. The number and the life of the place are the user data by which the
/// completion finds its operation.
/// </summary>
internal sealed class OperationTable(int operationsMax)
{
    private const int PlacesAtFirst = 64;

    private Place[] _places = new Place[PlacesAtFirst];
    private int[] _free = [.. Enumerable.Range(0, PlacesAtFirst).Reverse()];
    private int _freeCount = PlacesAtFirst;

    internal bool HasRoom => _places.Length - _freeCount < operationsMax;

    /// <summary>Gives an operation its place, and its entry the user data.</summary>
    internal void Add(RingRequest request)
    {
        if (_freeCount == 0) Grow();
        int slot = _free[--_freeCount];
        ref Place place = ref _places[slot];
        place.Request = request;
        request.Slot = slot;
        request.Entry.UserData = (ulong)place.Generation << 32 | (uint)slot;
    }

    /// <summary>The operation of a completion, which leaves its place.</summary>
    internal RingRequest Take(ulong userData)
    {
        int slot = (int)(uint)userData;
        ref Place place = ref _places[slot];
        RingRequest request = place.Request!;
        Debug.Assert(place.Generation == (uint)(userData >> 32), "a completion of an operation that is over");
        place.Request = null;
        place.Generation++;
        _free[_freeCount++] = slot;
        return request;
    }

    /// <summary>All that are in the table.</summary>
    internal IEnumerable<RingRequest> All => _places.Select(place => place.Request).OfType<RingRequest>();

    private void Grow()
    {
        int length = _places.Length;
        Array.Resize(ref _places, length * 2);
        Array.Resize(ref _free, length * 2);
        for (int slot = length * 2 - 1; slot >= length; slot--) _free[_freeCount++] = slot;
    }

    /// <summary>
    /// Where an operation is found when it completes. A struct: a store into an array of an open class has the runtime look up whether it
    /// may, in a cache that now and then grows, on the thread that stores.
    /// </summary>
    private struct Place
    {
        internal RingRequest? Request;
        internal uint Generation;
    }
}
