namespace Vmm.Devices.Tests.Memory;

/// <summary>Pages that were written, in the memory of a front-end's log: they are marked, and taken once.</summary>
public sealed class DirtyTrackerTests
{
    private const ulong Page = 4096, LogPages = Page * 8;

    [Fact]
    public void Marked_pages_are_taken_once_and_none_beyond_the_log()
    {
        using DirtyLog log = new(GuestRegion.Create(0, Page));
        ulong[] pages = new ulong[4];
        log.Mark(63 * Page + 1, Page);
        log.Mark(200 * Page, 1);
        log.Mark(300 * Page, 0);
        log.Mark(300 * Page, 1);
        log.Take(0, pages);
        Assert.Equal([1UL << 63, 1, 0, 1UL << 8], pages);
        log.Take(0, pages);
        Assert.Equal([1UL << 63, 1, 0, 1UL << 8], pages);
        Array.Clear(pages);
        log.Take(256 * Page, pages);
        Assert.Equal([1UL << 44, 0, 0, 0], pages);

        // The last page of the log, and those behind it; and a range that wraps.
        log.Mark((LogPages - 1) * Page, 10 * Page);
        log.Mark(LogPages * Page, Page);
        log.Mark(ulong.MaxValue - 10, 100);
        ulong[] all = new ulong[LogPages / 64 + 10];
        log.Take(0, all);
        Assert.Equal([(LogPages - 1) * Page], DirtyPages.Runs(all, (ulong)all.Length * 64 * Page).Select(run => run.Start));
        Assert.Throws<ArgumentOutOfRangeException>(() => log.Take(Page, all));
    }

    [Fact]
    public void Runs_of_pages_end_where_the_memory_ends()
    {
        ulong[] pages = [0b1011, 0, ulong.MaxValue, ulong.MaxValue];
        Assert.Equal([(0, 2 * Page), (3 * Page, Page), (128 * Page, 72 * Page)], DirtyPages.Runs(pages, 200 * Page));
        Assert.Equal([(0, Page)], DirtyPages.Runs(pages, Page));
        Assert.Empty(DirtyPages.Runs([0, 0], 128 * Page));
    }

    [Fact]
    public void What_is_given_back_is_marked_too()
    {
        using GuestMemory memory = GuestMemory.Create(64 * Page);
        using DirtyLog log = new(GuestRegion.Create(0, Page));
        memory.DirtyTracker = log;
        Assert.True(memory.TryDiscard(3 * Page, 2 * Page));
        Assert.False(memory.TryDiscard(63 * Page, 2 * Page));
        ulong[] pages = new ulong[1];
        log.Take(0, pages);
        Assert.Equal([0b11000UL], pages);
    }
}
