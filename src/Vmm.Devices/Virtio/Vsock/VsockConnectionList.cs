namespace Vmm.Devices;

/// <summary>
/// Connections that wait for something, each in one list at most, in the order they get their turn. Links are in the connections.
/// </summary>
internal sealed class VsockConnectionList
{
    private VsockConnection? _last;

    internal VsockConnection? First { get; private set; }

    internal int Count { get; private set; }

    /// <summary>Puts a connection at the end, unless it is in a list already.</summary>
    internal void Add(VsockConnection connection)
    {
        if (connection.List is not null) return;
        connection.List = this;
        connection.Previous = _last;
        if (_last is null) First = connection; else _last.Next = connection;
        _last = connection;
        Count++;
    }

    /// <summary>Takes a connection out that is in.</summary>
    internal void Remove(VsockConnection connection)
    {
        connection.List = null;
        if (connection.Previous is { } previous) previous.Next = connection.Next; else First = connection.Next;
        if (connection.Next is { } next) next.Previous = connection.Previous; else _last = connection.Previous;
        connection.Previous = connection.Next = null;
        Count--;
    }
}
