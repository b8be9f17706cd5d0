using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices;

// Pages that come and go (virtio 1.2 § 5.5.6.1 and § 5.5.6.7).
public sealed partial class BalloonDevice
{
    /// <summary>Pages taken at once: sorted, so that neighbours go back in one call.</summary>
    private const int PagesPerBatch = 256;

    /// <summary>Most pages in one turn; then the other devices have theirs. A request of more goes on in the next turn.</summary>
    private const int PagesPerTurnMax = 4096;

    /// <summary>Most reported pieces in one turn, but for the last report: each is a system call. Linux reports 32 at once.</summary>
    private const int PiecesPerTurnMax = 1024;

    private static readonly GuestFault OutsideMemory = new(GuestFaultKind.Request, "a balloon page that is not in guest memory (§ 5.5.6.1)");
    private static readonly GuestFault PartOfNumber = new(GuestFaultKind.Request, "a balloon request that is not whole page numbers (§ 5.5.6.1)");
    private static readonly GuestFault NotNegotiated = new(GuestFaultKind.Request, "a request in a balloon queue that was not negotiated (§ 5.5.2)");

    private DescriptorChain? _inflating;
    private ulong _inflated;

    /// <summary>The guest gives pages up: they go back to the host.</summary>
    private void Inflate(VirtQueue queue)
    {
        int budget = PagesPerTurnMax;
        while (_inflating is not null || queue.TryPop(out _inflating))
        {
            GuestFault fault = Inflate(queue.Memory, _inflating, ref budget, out bool isDone);
            if (!isDone)
            {
                ContinueLater(queue);
                return;
            }
            Finish(queue);
            if (fault.Kind != GuestFaultKind.None) queue.Fault(fault);
        }
    }

    /// <summary>Takes what the budget allows of one request.</summary>
    private GuestFault Inflate(GuestMemory memory, DescriptorChain chain, ref int budget, out bool isDone)
    {
        ChainReader reader = chain.Readable;
        reader.TrySkip(_inflated);
        Span<uint> pages = stackalloc uint[PagesPerBatch];
        isDone = false;
        while (budget > 0)
        {
            int count = (int)Math.Min((ulong)PagesPerBatch, reader.Remaining / sizeof(uint));
            if (count == 0)
            {
                isDone = true;
                return reader.Remaining == 0 ? default : PartOfNumber;
            }
            Span<uint> batch = pages[..count];
            reader.TryRead(MemoryMarshal.AsBytes(batch));
            _inflated += (ulong)count * sizeof(uint);
            budget -= count;
            if (TryReturn(memory, batch)) continue;
            isDone = true;
            return OutsideMemory;
        }
        return default;
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
            Return(memory, start, length);
            first = end;
        }
        return true;
    }

    private void Return(GuestMemory memory, ulong start, ulong length)
    {
        if (memory.TryDiscard(start, length)) Volatile.Write(ref _returnedBytes, _returnedBytes + (long)length);
        else ReportHostFault(Errno.NotSupported, "cannot give guest memory back to the host", "the file behind guest memory");
    }

    /// <summary>The guest takes pages back: they come when it touches them.</summary>
    private void Deflate(VirtQueue queue)
    {
        while (queue.TryPop(out DescriptorChain? chain)) queue.Push(chain, 0);
    }

    /// <summary>
    /// The guest reports pages it does not use: their content is lost (virtio 1.2 § 5.5.6.7). One that expects its free pages to be full of a pattern
    /// keeps them, unless the pattern is zero: that is what they read as when they come back.
    /// </summary>
    private void TakeReports(VirtQueue queue)
    {
        bool keep = (Activation!.Features & BalloonProtocol.FeaturePagePoison) != 0 && ReadConfig(BalloonProtocol.ConfigPoison) != 0;
        int pieces = 0;
        while (pieces < PiecesPerTurnMax && queue.TryPop(out DescriptorChain? chain))
        {
            ReadOnlySpan<IoVector> given = keep ? [] : chain.WritableVectors;
            foreach (ref readonly IoVector piece in given) Return(queue.Memory, chain.Hold!.Map.GuestAddressOf(piece.Address), piece.Length);
            pieces += given.Length;
            queue.Push(chain, 0);
        }
        if (pieces >= PiecesPerTurnMax) ContinueLater(queue);
    }

    private void StopPages(VirtQueue queue)
    {
        if (_inflating is not null) Finish(queue);
    }

    private void Finish(VirtQueue queue)
    {
        queue.Push(_inflating!, 0);
        _inflating = null;
        _inflated = 0;
    }
}
