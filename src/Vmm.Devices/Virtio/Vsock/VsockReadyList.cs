namespace Vmm.Devices;

/// <summary>The connections that have something for the guest, each once, in the order they get their turn. Links are in the connections.</summary>
internal sealed class VsockReadyList
{
    private VsockConnection? _last;

    internal VsockConnection? First { get; private set; }

    /// <summary>Puts a connection at the end, unless it is in already.</summary>
    internal void Add(VsockConnection connection)
    {
        if (connection.IsReady) return;
        connection.IsReady = true;
        connection.Previous = _last;
        if (_last is null) First = connection; else _last.Next = connection;
        _last = connection;
    }

    /// <summary>Takes a connection out, if it is in.</summary>
    internal void Remove(VsockConnection connection)
    {
        if (!connection.IsReady) return;
        connection.IsReady = false;
        if (connection.Previous is { } previous) previous.Next = connection.Next; else First = connection.Next;
        if (connection.Next is { } next) next.Previous = connection.Previous; else _last = connection.Previous;
        connection.Previous = connection.Next = null;
    }

    internal void Clear()
    {
        while (First is { } first) Remove(first);
    }
}
