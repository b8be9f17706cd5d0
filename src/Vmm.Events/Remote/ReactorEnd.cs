namespace Vmm.Events;

/// <summary>
/// The part of an endpoint that only the reactor writes, in cache lines of its own: what callers read stays in their caches while the
/// reactor counts. It holds the call of the thread that invokes most, which the reactor looks at while it polls
/// (<see cref="AttachableCall"/>).
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 3 * CacheLine.Bytes)]
internal sealed class ReactorEnd
{
    [FieldOffset(CacheLine.Bytes)]
    private AttachableCall? _attached;

    /// <summary>The last call that came through the queue: it is attached when it comes twice in a row.</summary>
    [FieldOffset(CacheLine.Bytes + 8)]
    private AttachableCall? _last;

    [FieldOffset(CacheLine.Bytes + 16)]
    private readonly int _number;

    [FieldOffset(CacheLine.Bytes + 24)]
    private readonly long _posted;

    [FieldOffset(CacheLine.Bytes + 32)]
    internal long CallsRun;

    [FieldOffset(CacheLine.Bytes + 40)]
    internal long WakeUps;

    internal ReactorEnd(int number)
    {
        _number = number;
        _posted = AttachableCall.PostedTo(number);
    }

    /// <summary>The attached call, if it waits to be run.</summary>
    internal AttachableCall? Posted => _attached is { } call && call.IsPosted(_posted) ? call : null;

    /// <summary>A call came through the queue and is about to be answered.</summary>
    /// <returns>The number of the endpoint it is attached to from now on; 0 for none.</returns>
    internal int TryAttach(AttachableCall call)
    {
        if (_attached != call)
        {
            bool isOften = _last == call;
            _last = call;
            if (!isOften || (_attached is { } before && !before.TryDetach(AttachableCall.AnsweredBy(_number)))) return 0;
            _attached = call;
        }
        return _number;
    }
}
