using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class GuestMemoryTests
{
    [Fact]
    public void Guest_memory_is_no_part_of_a_core_dump()
    {
        using GuestMemory memory = GuestMemory.Create(1 << 20);
        AssertNotDumped(memory.Regions[0].HostAddress);
    }

    [Fact]
    public void A_front_ends_memory_and_what_a_restored_guest_wrote_are_no_part_of_a_core_dump_either()
    {
        using GuestMemory memory = GuestMemory.Create(1 << 20);
        OwnedFd file = memory.Regions[0].File;
        using EventFd lost = new();
        using MappingBudget.Account account = new MappingBudget(1 << 30).Open(lost);
        Assert.Null(GuestRegion.TryMapForeign(file.Duplicate(), memory.Regions[0].Layout, MemoryFile.Of(file.Number), account, out GuestRegion? foreign));
        using (foreign) AssertNotDumped(foreign!.HostAddress);
        Assert.Equal(Errno.None, MappedMemory.MapPrivate(file, 0, 1 << 20, out MappedMemory? mapping));
        using (mapping)
        {
            AssertNotDumped(mapping!.Address);
            Assert.True(MappedMemory.TryMapZeros(mapping.Address, 1 << 16));
            AssertNotDumped(mapping.Address);
        }
    }

    private static void AssertNotDumped(nint address)
    {
        string start = address.ToString("x", System.Globalization.CultureInfo.InvariantCulture) + "-";
        string flags = File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith(start, StringComparison.Ordinal))
            .First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal));
        Assert.Contains("dd", flags.Split(' '));
    }

    private const ulong Page = 4096;

    /// <summary>Two regions that touch, a hole, and one more: [1, 3) [3, 4) … [8, 9) pages.</summary>
    private static GuestMemory WithHole()
    {
        GuestMemory memory = new();
        foreach ((ulong start, ulong end) in ((ulong, ulong)[])[(8, 9), (1, 3), (3, 4)])
            Assert.True(memory.TryAdd(GuestRegion.Create(start * Page, (end - start) * Page), out _));
        return memory;
    }

    [Theory]
    [InlineData(1 * Page, 2 * Page, true)]
    [InlineData(3 * Page - 1, 1, true)]
    [InlineData(3 * Page, Page, true)]
    [InlineData(9 * Page - 1, 1, true)]
    [InlineData(Page, 0, true)]
    [InlineData(3 * Page - 1, 2, false)]
    [InlineData(4 * Page - 1, 2, false)]
    [InlineData(4 * Page, 1, false)]
    [InlineData(0, 1, false)]
    [InlineData(Page - 1, 2, false)]
    [InlineData(9 * Page, 1, false)]
    [InlineData(9 * Page - 1, 2, false)]
    [InlineData(8 * Page, uint.MaxValue, false)]
    [InlineData(ulong.MaxValue, 1, false)]
    [InlineData(ulong.MaxValue, 2, false)]
    [InlineData(ulong.MaxValue - 3, uint.MaxValue, false)]
    public void A_span_lies_in_one_region_or_is_refused(ulong address, uint length, bool inside)
    {
        using GuestMemory memory = WithHole();
        Assert.Equal(inside, memory.TryGetSpan(address, length, out Span<byte> span));
        Assert.Equal(inside ? (int)length : 0, span.Length);
    }

    [Theory]
    [InlineData(1 * Page, 3 * (int)Page, true)]
    [InlineData(3 * Page - 1, 2, true)]
    [InlineData(3 * Page - 1, 1 + (int)Page, true)]
    [InlineData(3 * Page - 1, 2 + (int)Page, false)]
    [InlineData(4 * Page - 1, 2, false)]
    [InlineData(Page - 1, 2, false)]
    [InlineData(ulong.MaxValue, 2, false)]
    public void Copies_cross_regions_that_touch_but_no_hole(ulong address, int length, bool inside)
    {
        using GuestMemory memory = WithHole();
        byte[] written = new byte[length], read = new byte[length];
        new Random(length).NextBytes(written);
        Assert.Equal(inside, memory.TryWrite(address, written));
        Assert.Equal(inside, memory.TryRead(address, read));
        Assert.Equal(inside ? written : new byte[length], read);
        Assert.Equal(inside, memory.Contains(address, (ulong)length));
    }

    [Fact]
    public void A_refused_write_changes_nothing()
    {
        using GuestMemory memory = WithHole();
        Assert.False(memory.TryWrite(4 * Page - 2, [1, 2, 3]));
        byte[] end = new byte[2];
        Assert.True(memory.TryRead(4 * Page - 2, end));
        Assert.Equal([0, 0], end);
    }

    [Fact]
    public void Memory_above_4_GiB_is_reached_at_its_own_bytes()
    {
        using GuestMemory memory = GuestMemory.Create(6UL << 30);
        foreach (ulong address in (ulong[])[0, (1UL << 31) - 4, (1UL << 32) - 4, 1UL << 32, (6UL << 30) - 8])
            Assert.True(memory.TryWrite(address, BitConverter.GetBytes(address + 1)));
        foreach (ulong address in (ulong[])[0, (1UL << 31) - 4, 1UL << 32, (6UL << 30) - 8])
        {
            Assert.True(memory.TryGetSpan(address, 8, out Span<byte> span));
            Assert.Equal(address + 1, BitConverter.ToUInt64(span));
        }
        Assert.False(memory.TryGetSpan(6UL << 30, 1, out _));
        Assert.False(memory.TryGetSpan(0, (uint)int.MaxValue + 1, out _));
    }

    [Fact]
    public void Regions_that_overlap_are_refused_and_stay_the_callers()
    {
        using GuestMemory memory = WithHole();
        foreach ((ulong start, ulong pages) in ((ulong, ulong)[])[(0, 2), (2, 1), (1, 2), (7, 3), (0, 20)])
        {
            using GuestRegion region = GuestRegion.Create(start * Page, pages * Page);
            Assert.False(memory.TryAdd(region, out string? refusal));
            Assert.Contains("overlap", refusal, StringComparison.Ordinal);
            Assert.True(region.IsMapped);
        }
        Assert.Equal(3, memory.Regions.Count);
    }

    [Fact]
    public void A_region_that_wraps_or_exceeds_its_file_is_refused()
    {
        using GuestRegion source = GuestRegion.Create(0, 2 * Page);
        Refused(new RegionLayout(0, 0));
        Refused(new RegionLayout(0, 2 * Page + 1));
        Refused(new RegionLayout(0, 2 * Page, FileOffset: 1));
        Refused(new RegionLayout(0, 1, FileOffset: 2 * Page));
        Refused(new RegionLayout(0, 1, FileOffset: ulong.MaxValue));
        Refused(new RegionLayout(0, ulong.MaxValue));
        Refused(new RegionLayout(ulong.MaxValue - Page + 2, Page));
        Assert.True(GuestRegion.TryMap(source.File.Duplicate(), new RegionLayout(ulong.MaxValue - Page + 1, Page), out GuestRegion? last, out _));
        using GuestMemory memory = new();
        Assert.True(memory.TryAdd(last, out _));
        Assert.True(memory.TryGetSpan(ulong.MaxValue, 1, out _));
        Assert.False(memory.TryGetSpan(ulong.MaxValue, 2, out _));

        void Refused(RegionLayout layout)
        {
            Assert.False(GuestRegion.TryMap(source.File, layout, out _, out string? refusal));
            Assert.NotEmpty(refusal);
        }
    }

    [Fact]
    public void A_region_may_start_at_any_offset_of_its_file()
    {
        using GuestRegion file = GuestRegion.Create(0, 4 * Page);
        using GuestMemory whole = new(), part = new();
        Assert.True(GuestRegion.TryMap(file.File.Duplicate(), new RegionLayout(0, 4 * Page), out GuestRegion? all, out _));
        Assert.True(GuestRegion.TryMap(file.File.Duplicate(), new RegionLayout(0x10000, 5000, 777), out GuestRegion? some, out _));
        Assert.True(whole.TryAdd(all, out _));
        Assert.True(part.TryAdd(some, out _));
        byte[] data = [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 7))];
        Assert.True(part.TryWrite(0x10000, data));
        byte[] seen = new byte[5000];
        Assert.True(whole.TryRead(777, seen));
        Assert.Equal(data, seen);
    }

    [Fact]
    public void Our_own_memory_is_sealed_against_being_cut_short()
    {
        using GuestRegion region = GuestRegion.Create(0, Page);
        Assert.True(region.IsSealed);
        using FileStream file = new(new Microsoft.Win32.SafeHandles.SafeFileHandle(region.File.Duplicate().Number, ownsHandle: false), FileAccess.ReadWrite);
        Assert.ThrowsAny<Exception>(() => file.SetLength(0));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4097)]
    [InlineData(ulong.MaxValue - 4095)]
    public void Sizes_that_are_no_memory_are_refused(ulong bytes) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => GuestMemory.Create(bytes));

    [Fact]
    public void A_removed_region_stays_mapped_while_it_is_held()
    {
        using GuestMemory memory = WithHole();
        GuestRegion region = memory.Regions[2];
        MemoryHold hold = memory.Hold();
        Assert.True(hold.TryGetSpan(8 * Page, 4, out Span<byte> span));
        Assert.True(memory.Remove(8 * Page));
        Assert.False(memory.Remove(8 * Page));
        Assert.False(memory.TryGetSpan(8 * Page, 4, out _));
        span[0] = 1;
        Assert.True(region.IsMapped);
        hold.Dispose();
        hold.Dispose();
        Assert.False(region.IsMapped);
        Assert.Throws<ObjectDisposedException>(() => hold.TryGetSpan(Page, 1, out _));
    }

    [Fact]
    public void Replacing_unmaps_what_nobody_holds_and_keeps_what_stays()
    {
        using GuestMemory memory = WithHole();
        GuestRegion[] before = [.. memory.Regions];
        GuestRegion fresh = GuestRegion.Create(0, Page);
        Assert.True(memory.TryReplace([fresh], out _));
        Assert.All(before, region => Assert.False(region.IsMapped));
        Assert.Same(fresh, Assert.Single(memory.Regions));
        memory.Dispose();
        Assert.False(fresh.IsMapped);
    }

    [Fact]
    public void A_region_may_stay_through_any_number_of_replacements()
    {
        using GuestMemory memory = WithHole();
        GuestRegion kept = memory.Regions[0];
        for (int i = 0; i < 4; i++)
        {
            Assert.True(memory.TryReplace([kept, GuestRegion.Create(100 * Page, Page)], out _));
            Assert.True(kept.IsMapped);
            Assert.True(memory.TryWrite(Page, [1, 2, 3]));
        }
        Assert.True(memory.TryReplace([], out _));
        Assert.False(kept.IsMapped);
    }

    [Theory]
    [InlineData(Page, Page, true, 1, 2)]
    [InlineData(Page, 3 * Page, true, 1, 4)]
    [InlineData(Page + 1, 2 * Page, true, 2, 3)]
    [InlineData(Page + 1, Page, true, 0, 0)]
    [InlineData(Page, 0, true, 0, 0)]
    [InlineData(2 * Page, 3 * Page, false, 0, 0)]
    [InlineData(0, Page, false, 0, 0)]
    [InlineData(ulong.MaxValue, 2, false, 0, 0)]
    public void Discarded_pages_read_as_zeros_and_their_neighbours_do_not(ulong address, ulong length, bool inside, ulong firstGone, ulong endGone)
    {
        using GuestMemory memory = WithHole();
        byte[] full = new byte[3 * Page];
        Array.Fill(full, (byte)0xaa);
        Assert.True(memory.TryWrite(Page, full));
        Assert.Equal(inside, memory.TryDiscard(address, length));
        Assert.True(memory.TryRead(Page, full));
        for (ulong page = 1; page < 4; page++)
        {
            byte expected = page >= firstGone && page < endGone ? (byte)0 : (byte)0xaa;
            Assert.True(full.AsSpan((int)((page - 1) * Page), (int)Page).IndexOfAnyExcept(expected) < 0, $"page {page}");
        }
    }

    [Fact]
    public void Reads_and_writes_race_with_removal_without_harm()
    {
        using GuestMemory memory = WithHole();
        using CancellationTokenSource stop = new();
        Thread[] readers = [.. Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            byte[] data = new byte[64];
            while (!stop.IsCancellationRequested)
            {
                memory.TryRead(8 * Page, data);
                memory.TryWrite(8 * Page + 100, data);
            }
        }))];
        foreach (Thread reader in readers) reader.Start();
        for (int i = 0; i < 500; i++)
        {
            Assert.True(memory.Remove(8 * Page));
            Assert.True(memory.TryAdd(GuestRegion.Create(8 * Page, Page), out _));
        }
        stop.Cancel();
        foreach (Thread reader in readers) reader.Join();
    }

    [Fact]
    public void Too_many_regions_are_refused()
    {
        using GuestMemory memory = new();
        using GuestRegion file = GuestRegion.Create(0, Page);
        List<GuestRegion> regions = [];
        for (ulong i = 0; i <= GuestMemory.RegionsMax; i++)
        {
            Assert.True(GuestRegion.TryMap(file.File.Duplicate(), new RegionLayout(i * Page, Page), out GuestRegion? region, out _));
            regions.Add(region);
        }
        Assert.False(memory.TryReplace(regions, out string? refusal));
        Assert.Contains("512", refusal, StringComparison.Ordinal);
        foreach (GuestRegion region in regions) region.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Device_writes_mark_their_pages_dirty_and_nothing_else(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, false));
        using DirtyLog log = new(GuestRegion.Create(0, Page));
        GuestRegion bits = GuestRegion.Create(0, Page);
        rig.Memory.DirtyTracker = new DirtyLog(bits);
        rig.Add([new(RingRig.BufferStart, 16)], [new(RingRig.BufferStart + 3 * Page - 8, 16)]);
        rig.Add([], [new(RingRig.BufferStart + 8 * Page, (uint)(4 * Page)), new(RingRig.BufferStart + 15 * Page, 1)]);
        rig.Driver.Publish();
        rig.Device.Push(rig.Pop(), 16);
        rig.Device.Push(rig.Pop(), (uint)Page + 1);
        rig.Device.Publish();
        Assert.True(rig.Memory.TryWrite(RingRig.BufferStart + 20 * Page, [1]));
        // The last byte of a page marks that page.
        Assert.True(rig.Memory.TryWrite(RingRig.BufferStart + 24 * Page - 1, [1]));
        rig.Memory.DirtyTracker = null;
        Assert.True(rig.Memory.TryWrite(RingRig.BufferStart + 21 * Page, [1]));

        ulong buffer = RingRig.BufferStart / Page;
        SortedSet<ulong> expected =
            [buffer + 2, buffer + 3, buffer + 8, buffer + 9, buffer + 15, buffer + 20, buffer + 23, UsedRing(rig.Driver) / Page];
        using GuestMemory view = new();
        Assert.True(view.TryAdd(bits, out _));
        byte[] seen = new byte[Page];
        Assert.True(view.TryRead(0, seen));
        Assert.Equal(expected, Enumerable.Range(0, seen.Length * 8).Where(i => (seen[i / 8] & (1 << (i % 8))) != 0).Select(i => (ulong)i));
        log.Mark(ulong.MaxValue - 10, 5);
        log.Mark(0, ulong.MaxValue);

        // A packed ring's used descriptors stand where its available ones stood (virtio 1.2 § 2.8).
        static ulong UsedRing(DriverQueue driver) =>
            driver is PackedDriverQueue ? driver.Configuration().DescriptorTable : driver.DeviceRing;
    }
}
