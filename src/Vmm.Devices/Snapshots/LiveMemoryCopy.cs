using System.Runtime.ExceptionServices;

namespace Vmm.Devices;

/// <summary>
/// Writes guest memory as it was at one moment while its guest goes on: the guest's view of it is protected, and a page that is about to be
/// written is saved first. Devices write through another mapping, which is not protected; they ask before (<see cref="Keep"/>).
/// </summary>
internal sealed class LiveMemoryCopy : IBeforeWrite
{
    private const int PageShift = DirtyPages.Shift;
    private const ulong PageBytes = 1 << PageShift;

    /// <summary>Pages that are saved together when one of them is asked for, and between two looks at who waits.</summary>
    private const ulong FaultPages = 16, StepPages = 64;

    private static readonly TimeSpan ReportEvery = TimeSpan.FromMilliseconds(100);

    private readonly FaultWatch _watch;
    private readonly MemoryImageWriter _writer;
    private readonly Lock _lock = new();
    private readonly Part[] _parts;
    private readonly ulong _bytes;
    /// <summary>Whether the thread that was prepared is to copy; it waits for that.</summary>
    private readonly TaskCompletionSource<bool> _begin = new();
    private ExceptionDispatchInfo? _failure;

    /// <summary>A region, the guest's view of it, and its pages that are to be saved.</summary>
    private sealed record Part(GuestRegion Region, MappedMemory View, ulong Place, ulong[] Pending);

    /// <summary>
    /// Protects views, other mappings of the regions of a machine's memory by guest address, which may still run: what is saved is the
    /// moment at which it stands still and gets the views in place of what it had.
    /// </summary>
    /// <exception cref="Vmm.Events.KernelException">The kernel refuses.</exception>
    internal LiveMemoryCopy(FaultWatch watch, MemoryImageWriter writer, IReadOnlyList<(GuestRegion Region, MappedMemory View)> views)
    {
        _watch = watch;
        _writer = writer;
        _parts = new Part[views.Count];
        ulong place = 0;
        for (int i = 0; i < _parts.Length; i++)
        {
            (GuestRegion region, MappedMemory view) = views[i];
            ulong[] pending = DirtyPages.None(region.Length);
            Array.Fill(pending, ulong.MaxValue);
            _parts[i] = new Part(region, view, place, pending);
            place += region.Length;
        }
        _bytes = place;
        int watched = 0;
        try
        {
            foreach (Part part in _parts)
            {
                _watch.Register(part.View.Address, part.Region.Length);
                watched++;
                _watch.Protect(part.View.Address, part.Region.Length, isProtected: true);
            }
        }
        catch
        {
            // The guest must not wait for pages that are never released.
            foreach (Part part in _parts.AsSpan(0, watched)) _watch.Unregister(part.View.Address, part.Region.Length);
            throw;
        }
    }

    /// <summary>The regions, with the view that its guest gets of each.</summary>
    internal IEnumerable<(GuestRegion Region, MappedMemory View)> Views => _parts.Select(part => (part.Region, part.View));

    /// <summary>
    /// Saves some pages, by region, and leaves out the others. Call it while the machine stands still, before it gets the views.
    /// </summary>
    internal void SaveOnly(ulong[][] pages)
    {
        for (int i = 0; i < _parts.Length; i++) pages[i].CopyTo(_parts[i].Pending, 0);
    }

    /// <summary>Saves pages before a device writes them. A failure is thrown by <see cref="Run"/>.</summary>
    public void Keep(ulong address, ulong length)
    {
        foreach (Part part in _parts)
        {
            ulong start = Math.Max(address, part.Region.GuestAddress) - part.Region.GuestAddress;
            ulong end = Math.Min(address + length, part.Region.GuestAddress + part.Region.Length);
            if (address + length < address || end <= part.Region.GuestAddress || start >= end - part.Region.GuestAddress) continue;
            end -= part.Region.GuestAddress;
            try
            {
                Save(part, start >> PageShift, (end + PageBytes - 1) >> PageShift);
            }
            catch (Exception failed)
            {
                _failure ??= ExceptionDispatchInfo.Capture(failed);
            }
        }
    }

    /// <summary>
    /// Starts a thread that waits for <see cref="Begin"/> and saves everything then, first what is asked for. A thread of its own, and
    /// there before the guest stands still: processors of the guest wait for it.
    /// </summary>
    /// <returns>Ends when the guest's memory is released. It fails with <see cref="Vmm.Events.KernelException"/> where the host refuses,
    /// or has no room.</returns>
    internal Task Prepare(IProgress<SnapshotProgress>? progress, CancellationToken cancel) => Task.Factory.StartNew(
        () =>
        {
            if (_begin.Task.Result) Run(progress, cancel);
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>The guest has the views: what was prepared begins.</summary>
    internal void Begin() => _begin.SetResult(true);

    /// <summary>Releases the views, in place of <see cref="Begin"/>, and closes them if no guest has got one.</summary>
    internal void Abandon(bool closeViews)
    {
        _begin.SetResult(false);
        Release(closeViews);
    }

    private void Release(bool closeViews)
    {
        foreach (Part part in _parts)
        {
            _watch.Unregister(part.View.Address, part.Region.Length);
            if (closeViews) part.View.Dispose();
        }
    }

    /// <summary>Saves everything, first what is asked for. Returns when the guest's memory is released, also by an exception.</summary>
    /// <exception cref="Vmm.Events.KernelException">The host refuses, or has no room.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    internal void Run(IProgress<SnapshotProgress>? progress, CancellationToken cancel)
    {
        long reported = 0;
        try
        {
            foreach (Part part in _parts)
            {
                ulong pages = part.Region.Length >> PageShift;
                for (ulong page = 0; page < pages; page += StepPages)
                {
                    cancel.ThrowIfCancellationRequested();
                    _failure?.Throw();
                    AnswerFaults();
                    ulong end = Math.Min(page + StepPages, pages);
                    if (!IsPending(part, page, end)) continue;
                    Save(part, page, end);
                    _watch.Protect(part.View.Address + (nint)(page << PageShift), (end - page) << PageShift, isProtected: false);
                    if (progress is null || Environment.TickCount64 - reported < ReportEvery.TotalMilliseconds) continue;
                    reported = Environment.TickCount64;
                    progress.Report(new SnapshotProgress(part.Place + (end << PageShift), _bytes));
                }
            }
            _failure?.Throw();
        }
        finally
        {
            Release(closeViews: false);
        }
    }

    private void AnswerFaults()
    {
        Span<ulong> faults = stackalloc ulong[64];
        for (int count; (count = _watch.Read(faults)) > 0;)
        {
            foreach (ulong address in faults[..count])
            {
                Part? part = Array.Find(_parts, each => address - (ulong)each.View.Address < each.Region.Length);
                if (part is null) continue;
                ulong page = (address - (ulong)part.View.Address) >> PageShift, first = page / FaultPages * FaultPages;
                ulong end = Math.Min(first + FaultPages, part.Region.Length >> PageShift);
                Save(part, first, end);
                _watch.Protect(part.View.Address + (nint)(first << PageShift), (end - first) << PageShift, isProtected: false);
            }
        }
    }

    private static bool IsPending(Part part, ulong first, ulong end)
    {
        for (ulong page = first; page < end; page++)
        {
            if ((Volatile.Read(ref part.Pending[page / 64]) >> (int)(page % 64) & 1) != 0) return true;
        }
        return false;
    }

    /// <summary>Saves those of some pages that were not saved yet.</summary>
    private void Save(Part part, ulong first, ulong end)
    {
        lock (_lock)
        {
            for (ulong page = first; page < end; page++)
            {
                if (!IsPending(part, page, page + 1)) continue;
                ulong start = page;
                while (page < end && page - start < StepPages && IsPending(part, page, page + 1))
                {
                    part.Pending[page / 64] &= ~(1UL << (int)(page % 64));
                    page++;
                }
                Write(part, start, page);
                page--;
            }
        }
    }

    /// <summary>Writes those of some pages that are no holes. No other thread changes them meanwhile.</summary>
    private void Write(Part part, ulong first, ulong end)
    {
        for (ulong start = NextData(part, first); start < end;)
        {
            ulong next = start + 1, data = next;
            while (next < end && (data = NextData(part, next)) == next) next++;
            _writer.Write(part.Region, part.Place, start << PageShift, (int)((next - start) << PageShift));
            start = Math.Max(next, data);
        }
    }

    private static ulong NextData(Part part, ulong page) => part.Region.NextData(page << PageShift) >> PageShift;
}
