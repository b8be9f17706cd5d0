namespace Vmm.Events.Rings;

/// <summary>Operations that are to end early, until the engine has the request for it.</summary>
internal sealed class WantedCancellations
{
    /// <summary>User data of a cancellation, whose own result is not used.</summary>
    internal const ulong Tag = ulong.MaxValue;

    private readonly List<RingRequest> _wanted = [];

    internal bool IsEmpty => _wanted.Count == 0;

    /// <summary>Asks once for the end of an operation in flight.</summary>
    /// <returns>False if that was asked for before.</returns>
    internal bool Add(RingRequest request)
    {
        if (request.CancelWanted) return false;
        request.CancelWanted = true;
        _wanted.Add(request);
        return true;
    }

    /// <summary>Hands over those whose operation the engine has, as far as there is room.</summary>
    internal void HandOver(IRingEngine engine)
    {
        int kept = 0;
        for (int i = 0; i < _wanted.Count; i++)
        {
            RingRequest request = _wanted[i];
            // Over already, and perhaps begun again.
            if (!request.CancelWanted) continue;
            if (engine.Room == 0) engine.Submit();
            if (request.Slot < 0 || engine.Room == 0)
            {
                _wanted[kept++] = request;
                continue;
            }
            request.CancelWanted = false;
            engine.Prepare(new IoUringEntry { Op = IoUringOp.AsyncCancel, Fd = -1, Address = request.Entry.UserData, UserData = Tag });
        }
        _wanted.RemoveRange(kept, _wanted.Count - kept);
    }
}
