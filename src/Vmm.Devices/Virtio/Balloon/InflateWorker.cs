using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>
/// The guest gives pages up (virtio 1.2 § 5.5.6.1): they go back to the host. A request of many goes on turn after turn, and after a pause.
/// </summary>
internal sealed class InflateWorker : QueueWorker
{
    /// <summary>Pages taken at once: sorted, so that neighbours go back in one call.</summary>
    private const int PagesPerBatch = 256;

    /// <summary>Most pages in one turn; then the other devices have theirs. A request of more goes on in the next turn.</summary>
    private const int PagesPerTurnMax = 4096;

    private static readonly GuestFault OutsideMemory =
        new(GuestFaultKind.Request, "a balloon page that is not in guest memory (§ 5.5.6.1)");
    private static readonly GuestFault PartOfNumber =
        new(GuestFaultKind.Request, "a balloon request that is not whole page numbers (§ 5.5.6.1)");

    private readonly BalloonDevice _balloon;
    private DescriptorChain? _chain;
    /// <summary>Bytes of the first request that were taken: of the chain at hand, or of the one that is popped next.</summary>
    private ulong _taken;

    internal InflateWorker(BalloonDevice balloon, QueueContext context) : base(context)
    {
        _balloon = balloon;
        Context.Turn.BytesMax = PagesPerTurnMax * sizeof(uint);
    }

    public override void Serve()
    {
        while (_chain is not null || Queue.TryPop(out _chain))
        {
            GuestFault fault = Take(_chain, out bool isDone);
            if (!isDone)
            {
                Context.ServeLater();
                return;
            }
            Finish();
            if (fault.Kind != GuestFaultKind.None) Context.Fault(fault);
        }
    }

    public override void Quiesce(QuiesceReason reason)
    {
        if (_chain is null) return;
        if (reason == QuiesceReason.Reset)
        {
            Finish();
            return;
        }
        Queue.Unpop(_chain);
        _chain = null;
    }

    /// <summary>Takes what the turn allows of a request.</summary>
    private GuestFault Take(DescriptorChain chain, out bool isDone)
    {
        ChainReader reader = chain.Readable;
        reader.TrySkip(_taken);
        Span<uint> pages = stackalloc uint[PagesPerBatch];
        isDone = false;
        while (!Context.Turn.IsSpent)
        {
            int count = (int)Math.Min((ulong)PagesPerBatch, reader.Remaining / sizeof(uint));
            if (count == 0)
            {
                isDone = true;
                return reader.Remaining == 0 ? default : PartOfNumber;
            }
            Span<uint> batch = pages[..count];
            reader.TryRead(MemoryMarshal.AsBytes(batch));
            _taken += (ulong)batch.Length * sizeof(uint);
            Context.Turn.Charge(batch.Length * sizeof(uint));
            if (TryReturn(Queue.Memory, batch)) continue;
            isDone = true;
            return OutsideMemory;
        }
        return default;
    }

    private void Finish()
    {
        Queue.Push(_chain!, 0);
        _chain = null;
        _taken = 0;
    }

    /// <summary>Gives a batch of pages back, each run of neighbours at once.</summary>
    /// <returns>False if one of them is not in guest memory.</returns>
    private bool TryReturn(GuestMemory memory, Span<uint> pages)
    {
        pages.Sort();
        for (int first = 0; first < pages.Length;)
        {
            int end = first + 1;
            while (end < pages.Length && pages[end] <= pages[end - 1] + 1UL) end++;
            ulong start = pages[first] * BalloonProtocol.PageBytes;
            ulong length = ((ulong)pages[end - 1] + 1) * BalloonProtocol.PageBytes - start;
            if (!memory.Contains(start, length)) return false;
            _balloon.Return(memory, start, length);
            first = end;
        }
        return true;
    }
}
