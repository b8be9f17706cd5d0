using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.Memory;

/// <summary>Guest memory that is a private view of a file.</summary>
public sealed class PrivateRegionTests : IDisposable
{
    private const int Page = 4096, Pages = 64;
    private readonly string _path = Path.GetTempFileName();
    private readonly byte[] _content = new byte[Pages * Page];
    private readonly GuestMemory _memory = new();
    private readonly GuestRegion _region;

    public PrivateRegionTests()
    {
        new Random(1).NextBytes(_content);
        // Pages 16 to 31 are a hole of the file.
        _content.AsSpan(16 * Page, 16 * Page).Clear();
        using (FileStream file = new(_path, FileMode.Create))
        {
            file.Write(_content.AsSpan(0, 16 * Page));
            file.Position = 32 * Page;
            file.Write(_content.AsSpan(32 * Page));
        }
        _region = GuestRegion.MapPrivate(SnapshotCalls.OpenFile(_path)!, new RegionLayout(0, Pages * Page));
        Assert.True(_memory.TryAdd(_region, out _));
    }

    public void Dispose()
    {
        _memory.Dispose();
        File.Delete(_path);
    }

    [Fact]
    public void What_is_written_stays_in_this_process()
    {
        Assert.Equal(_content, Read());
        Assert.True(_memory.TryWrite(5 * Page, new byte[] { 1, 2, 3 }));
        Assert.Equal([1, 2, 3], Read().AsSpan(5 * Page, 3).ToArray());
        using FileStream file = File.OpenRead(_path);
        byte[] inFile = new byte[_content.Length];
        file.ReadExactly(inFile);
        Assert.Equal(_content, inFile);
        Assert.Throws<InvalidOperationException>(() => _region.File);
    }

    [Fact]
    public void What_is_given_back_reads_as_zeros_again_and_again()
    {
        Random random = new(2);
        for (int round = 0; round < 300; round++)
        {
            int first = random.Next(Pages), count = random.Next(1, Pages - first + 1);
            if (random.Next(2) == 0)
            {
                byte[] written = new byte[count * Page];
                random.NextBytes(written);
                Assert.True(_memory.TryWrite((ulong)(first * Page), written));
                written.CopyTo(_content, first * Page);
            }
            else
            {
                Assert.True(_memory.TryDiscard((ulong)(first * Page), (ulong)(count * Page)));
                _content.AsSpan(first * Page, count * Page).Clear();
            }
            Assert.Equal(_content, Read());
            AssertExtentsCover();
        }
    }

    [Fact]
    public void Parts_that_are_holes_and_were_not_written_are_not_looked_at()
    {
        Assert.Equal([(0, 16 * Page), (32 * Page, 32 * Page)], Extents());
        Assert.True(_memory.TryWrite(20 * Page, new byte[] { 1 }));
        Assert.True(_memory.TryDiscard(40 * Page, 2 * Page));
        Assert.Equal([(0, 16 * Page), (20 * Page, Page), (32 * Page, 8 * Page), (42 * Page, 22 * Page)], Extents());
    }

    [Fact]
    public void A_mapping_that_would_be_cut_into_too_many_is_zeroed_by_hand()
    {
        const int Many = 2 * PrivatePages.MappingsMax + 64;
        using (FileStream file = new(_path, FileMode.Open)) file.SetLength((long)Many * Page);
        using GuestMemory memory = new();
        Assert.True(memory.TryAdd(GuestRegion.MapPrivate(SnapshotCalls.OpenFile(_path)!, new RegionLayout(0, (ulong)Many * Page)), out _));
        byte[] ones = new byte[Page];
        ones.AsSpan().Fill(1);
        byte[] found = new byte[Page];
        for (ulong page = 0; page < Many; page += 2)
        {
            Assert.True(memory.TryWrite(page * Page, ones));
            Assert.True(memory.TryDiscard(page * Page, Page));
            Assert.True(memory.TryRead(page * Page, found));
            Assert.False(found.AsSpan().ContainsAnyExcept((byte)0));
        }
    }

    [Fact]
    public void Fresh_memory_says_what_was_written()
    {
        using GuestMemory memory = GuestMemory.Create(Pages * Page);
        Assert.Empty(memory.Regions[0].Extents());
        Assert.True(memory.TryWrite(3 * Page, new byte[2 * Page]));
        Assert.Equal([(3ul * Page, 2ul * Page)], memory.Regions[0].Extents());
    }

    private byte[] Read()
    {
        byte[] bytes = new byte[_content.Length];
        Assert.True(_memory.TryRead(0, bytes));
        return bytes;
    }

    private (int Start, int Length)[] Extents() => [.. _region.Extents().Select(each => ((int)each.Start, (int)each.Length))];

    private void AssertExtentsCover()
    {
        bool[] looked = new bool[Pages];
        foreach ((int start, int length) in Extents()) looked.AsSpan(start / Page, length / Page).Fill(true);
        for (int page = 0; page < Pages; page++) Assert.True(looked[page] || !_content.AsSpan(page * Page, Page).ContainsAnyExcept((byte)0));
    }
}
