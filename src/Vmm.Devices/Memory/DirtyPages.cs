namespace Vmm.Devices;

/// <summary>Pages of guest memory as bits of words, which several threads set while another takes them.</summary>
internal static class DirtyPages
{
    internal const int Shift = 12, PerWord = 64;

    /// <summary>Bytes of memory whose pages are in one word.</summary>
    internal const ulong WordBytes = PerWord << Shift;

    /// <summary>Sets the bits of a range. What lies beyond the words is left out.</summary>
    internal static void Mark(Span<ulong> words, ulong address, ulong length)
    {
        if (length == 0) return;
        ulong count = (ulong)words.Length * PerWord, first = address >> Shift, last = (address + length - 1) >> Shift;
        if (last < first || last >= count) last = count - 1;
        for (ulong page = first; page <= last && page < count; page++)
        {
            ref ulong word = ref words[(int)(page / PerWord)];
            ulong bit = 1UL << (int)(page % PerWord);
            // Most pages are written again and again: a look costs less than a locked operation.
            if ((Volatile.Read(ref word) & bit) == 0) Interlocked.Or(ref word, bit);
        }
    }

    /// <summary>Moves the bits of some pages to another set.</summary>
    internal static void Take(Span<ulong> words, ulong address, Span<ulong> pages)
    {
        if (address % WordBytes != 0) throw new ArgumentOutOfRangeException(nameof(address), address, $"not a multiple of {WordBytes}");
        ulong first = address / WordBytes;
        for (int i = 0; i < pages.Length && first + (ulong)i < (ulong)words.Length; i++)
        {
            ref ulong word = ref words[(int)first + i];
            if (Volatile.Read(ref word) != 0) pages[i] |= Interlocked.Exchange(ref word, 0);
        }
    }

    /// <summary>Whether a page is in a set.</summary>
    internal static bool Has(ReadOnlySpan<ulong> pages, ulong page) => (pages[(int)(page / PerWord)] >> (int)(page % PerWord) & 1) != 0;

    /// <summary>An empty set for so many bytes of memory.</summary>
    internal static ulong[] None(ulong bytes) => new ulong[(bytes + WordBytes - 1) / WordBytes];

    /// <summary>The pages of a set, which ends at so many bytes, that follow each other, as ranges of bytes.</summary>
    internal static IEnumerable<(ulong Start, ulong Length)> Runs(ulong[] pages, ulong bytes)
    {
        ulong count = bytes >> Shift;
        for (ulong page = 0; page < count;)
        {
            ulong word = pages[page / PerWord] >> (int)(page % PerWord);
            if (word == 0)
            {
                page = (page / PerWord + 1) * PerWord;
                continue;
            }
            page += (ulong)System.Numerics.BitOperations.TrailingZeroCount(word);
            ulong first = page;
            while (page < count && Has(pages, page)) page++;
            if (first < count) yield return (first << Shift, (page - first) << Shift);
        }
    }
}
