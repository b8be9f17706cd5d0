namespace Vmm.Devices;

/// <summary>
/// The guest reports pages it does not use: their content is lost (virtio 1.2 § 5.5.6.7). One that expects its free pages to be full of
/// a pattern keeps them, unless the pattern is zero: that is what they read as when they come back.
/// </summary>
internal sealed class ReportWorker : QueueWorker
{
    /// <summary>Most reported pieces in one turn, but for the last report: each is a system call. Linux reports 32 at once.</summary>
    private const int PiecesPerTurnMax = 1024;

    private readonly BalloonDevice _balloon;

    internal ReportWorker(BalloonDevice balloon, QueueContext context) : base(context)
    {
        _balloon = balloon;
        Context.Turn.CallsMax = PiecesPerTurnMax;
    }

    public override void Serve()
    {
        VirtQueue queue = Queue;
        bool keep = Context.Driver.Has(BalloonProtocol.FeaturePagePoison) && _balloon.IsPoisoned;
        while (queue.TryPop(out DescriptorChain? chain))
        {
            ReadOnlySpan<GuestSpan> given = keep ? [] : chain.WritableSpans;
            foreach (ref readonly GuestSpan piece in given) _balloon.Return(queue.Memory, piece.Guest, piece.Length);
            Context.Turn.Charge(0, given.Length);
            queue.Push(chain, 0);
        }
    }
}
