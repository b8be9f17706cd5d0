namespace Vmm.Devices;

/// <summary>Finds the parts of memory that may be other than zeros, so that a save looks at no others.</summary>
internal static class DataExtents
{
    private const int PageShift = DirtyPages.Shift;
    private const ulong PageBytes = 1 << PageShift;

    /// <summary>Of an entry of /proc/self/pagemap (proc(5)): in memory, swapped out, of a file.</summary>
    private const ulong Present = 1UL << 63, Swapped = 1UL << 62, OfAFile = 1UL << 61;

    private const int PagesPerRead = 8192;

    /// <summary>Parts of a file that are no holes, or of which that is not known, as offsets from where a region begins in it.</summary>
    internal static IEnumerable<(ulong Start, ulong Length)> OfFile(OwnedFd file, ulong offset, ulong length)
    {
        for (ulong at = 0; at < length;)
        {
            long data = FileCalls.Seek(file.Number, (long)(offset + at), FileCalls.SEEK_DATA);
            if (data < 0 && CallResult.LastError == Errno.NoDeviceOrAddress) yield break;
            long hole = data < 0 ? -1 : FileCalls.Seek(file.Number, data, FileCalls.SEEK_HOLE);
            ulong start = data < 0 ? at : Math.Max(at, ((ulong)data - offset) & ~(PageBytes - 1));
            ulong end = hole < 0 ? length : Math.Min(length, ((ulong)hole - offset + PageBytes - 1) & ~(PageBytes - 1));
            if (start >= length) yield break;
            yield return (start, end - start);
            at = end;
        }
    }

    /// <summary>Parts of a private mapping that have data in its files, or were written since.</summary>
    internal static IEnumerable<(ulong Start, ulong Length)> OfPrivate(OwnedFd file, ulong offset, nint address, ulong length,
        PrivatePages pages)
    {
        ulong[] mayDiffer = DirtyPages.None(length);
        foreach ((ulong start, ulong bytes) in OfFile(file, offset, length)) DirtyPages.Mark(mayDiffer, start, bytes);
        pages.Correct(mayDiffer);
        return TryMarkWritten(address, length, mayDiffer) ? DirtyPages.Runs(mayDiffer, length) : [(0, length)];
    }

    /// <summary>Marks the pages of a mapping that this process has a copy of.</summary>
    /// <returns>False if the kernel does not say.</returns>
    internal static bool TryMarkWritten(nint address, ulong length, ulong[] bits)
    {
        using OwnedFd? map = SnapshotCalls.OpenFile("/proc/self/pagemap");
        if (map is null) return false;
        ulong[] entries = new ulong[PagesPerRead];
        ulong count = length >> PageShift, first = (ulong)address >> PageShift;
        for (ulong done = 0; done < count;)
        {
            Span<ulong> some = entries.AsSpan(0, (int)Math.Min(PagesPerRead, count - done));
            int read = SnapshotCalls.Read(map, MemoryMarshal.AsBytes(some), (long)((first + done) * sizeof(ulong)), out Errno error);
            if (error != Errno.None || read != some.Length * sizeof(ulong)) return false;
            for (int i = 0; i < some.Length; i++)
            {
                ulong page = done + (ulong)i;
                if ((some[i] & (Present | Swapped)) != 0 && (some[i] & OfAFile) == 0) bits[page / 64] |= 1UL << (int)(page % 64);
            }
            done += (ulong)some.Length;
        }
        return true;
    }
}
