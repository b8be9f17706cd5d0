namespace Vmm.Devices;

/// <summary>
/// Writes guest memory into the file <c>memory</c> of a snapshot: region behind region, pages of zeros as holes. One thread at a time.
/// </summary>
internal sealed class MemoryImageWriter
{
    /// <summary>Bytes between two looks at whether to go on.</summary>
    private const ulong StepBytes = 1 << 20;

    private readonly OwnedFd _file;
    private readonly IReadOnlyList<GuestRegion> _regions;
    private readonly PageSums _sums;

    /// <param name="file">Empty, open for writing. Stays the caller's.</param>
    /// <param name="regions">The memory, by guest address. They stay mapped while this is used.</param>
    /// <exception cref="KernelException">The host has no room.</exception>
    internal MemoryImageWriter(OwnedFd file, IReadOnlyList<GuestRegion> regions)
    {
        _file = file;
        _regions = regions;
        foreach (GuestRegion region in regions) Bytes += region.Length;
        _sums = new PageSums(Bytes);
        if (Native.FileCalls.SetLength(file.Number, Bytes) is var error and not Errno.None)
            throw new KernelException($"cannot make the snapshot's memory {Bytes} bytes long", error);
    }

    /// <summary>Of the whole memory.</summary>
    internal ulong Bytes { get; }

    /// <summary>Bytes written so far: those that are no zeros.</summary>
    internal long Written { get; private set; }

    /// <summary>Writes all of it, or some pages by region. Nothing changes them meanwhile.</summary>
    /// <exception cref="KernelException">The host refuses, or has no room.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    internal void WriteAll(ulong[][]? only, IProgress<SnapshotProgress>? progress, CancellationToken cancel) =>
        WriteFrom(_regions, only is null ? i => _regions[i].Extents() : i => DirtyPages.Runs(only[i], _regions[i].Length), progress,
            cancel);

    /// <summary>
    /// Writes pages of another view of the memory, with as many regions and as long ones, that may be data: those that are not in a set.
    /// </summary>
    /// <inheritdoc cref="WriteAll" path="/exception"/>
    internal void WriteRest(IReadOnlyList<GuestRegion> regions, ulong[][] others, IProgress<SnapshotProgress>? progress,
        CancellationToken cancel) => WriteFrom(regions, i => Rest(regions[i], others[i]), progress, cancel);

    private static IEnumerable<(ulong Start, ulong Length)> Rest(GuestRegion region, ulong[] others)
    {
        ulong[] pages = DirtyPages.None(region.Length);
        foreach ((ulong start, ulong length) in region.Extents()) DirtyPages.Mark(pages, start, length);
        for (int i = 0; i < pages.Length; i++) pages[i] &= ~others[i];
        return DirtyPages.Runs(pages, region.Length);
    }

    private void WriteFrom(IReadOnlyList<GuestRegion> regions, Func<int, IEnumerable<(ulong Start, ulong Length)>> extents,
        IProgress<SnapshotProgress>? progress, CancellationToken cancel)
    {
        ulong before = 0;
        for (int i = 0; i < regions.Count; i++)
        {
            GuestRegion region = regions[i];
            foreach ((ulong start, ulong length) in extents(i))
            {
                for (ulong at = start; at < start + length; at += StepBytes)
                {
                    cancel.ThrowIfCancellationRequested();
                    Write(region, before, at, (int)Math.Min(StepBytes, start + length - at));
                    progress?.Report(new SnapshotProgress(before + at, Bytes));
                }
            }
            before += region.Length;
        }
        progress?.Report(new SnapshotProgress(Bytes, Bytes));
    }

    /// <summary>What <see cref="PageSums.OfChunks"/> says once everything was written.</summary>
    internal byte[] Sums() => _sums.OfChunks();

    /// <summary>Writes whole pages of a region, which begins at a place in the file, that are no zeros.</summary>
    internal void Write(GuestRegion region, ulong place, ulong start, int length)
    {
        ReadOnlySpan<byte> bytes = region.Bytes(start, length);
        int run = 0;
        for (int at = 0; at < length; at += PageSums.PageBytes)
        {
            ReadOnlySpan<byte> page = bytes.Slice(at, PageSums.PageBytes);
            if (PageSums.IsZero(page))
            {
                Put(bytes[run..at], place + start + (ulong)run);
                run = at + PageSums.PageBytes;
            }
            else
            {
                _sums.Set((long)((place + start + (ulong)at) / PageSums.PageBytes), page);
            }
        }
        Put(bytes[run..], place + start + (ulong)run);
    }

    private void Put(ReadOnlySpan<byte> bytes, ulong offset)
    {
        if (bytes.Length == 0) return;
        SnapshotDirectory.Write(_file, bytes, (long)offset, MachineSnapshot.MemoryName);
        Written += bytes.Length;
    }
}
