using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.Snapshots;

/// <summary>Memory is written as it was at one moment, while a guest and devices write it.</summary>
public sealed class LiveMemoryCopyTests : IDisposable
{
    private const int Page = 4096, Pages = 2048;
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);
    private readonly string _path = Path.GetTempFileName();
    private readonly GuestMemory _memory = GuestMemory.Create(Pages * Page);
    private readonly FaultWatch? _watch = FaultWatch.TryOpen(out _);
    private readonly byte[] _content = new byte[Pages * Page];

    public LiveMemoryCopyTests()
    {
        Assert.SkipWhen(_watch is null, "needs userfaultfd");
        new Random(1).NextBytes(_content);
        _content.AsSpan(100 * Page, 300 * Page).Clear();
        Assert.True(_memory.TryWrite(0, _content.AsSpan(0, 100 * Page)));
        Assert.True(_memory.TryWrite(400 * Page, _content.AsSpan(400 * Page)));
    }

    public void Dispose()
    {
        _memory.Dispose();
        _watch?.Dispose();
        File.Delete(_path);
    }

    [Fact]
    public async Task What_a_device_writes_or_gives_back_is_saved_before()
    {
        using MappedMemory view = _memory.Regions[0].MapAgain();
        using OwnedFd file = Open();
        MemoryImageWriter writer = new(file, _memory.Regions);
        LiveMemoryCopy copy = new(_watch!, writer, [(_memory.Regions[0], view)]);
        _memory.BeforeWrite = copy;
        Random random = new(2);
        Task writing = Task.Run(() =>
        {
            byte[] other = new byte[3 * Page];
            for (int i = 0; i < 500; i++)
            {
                ulong at = (ulong)random.Next((Pages - 4) * Page);
                if (i % 5 == 0) _memory.TryDiscard(at, 3 * Page);
                else _memory.TryWrite(at, other.AsSpan(0, random.Next(other.Length)));
            }
            // What is not the guest's is none of its business.
            copy.Keep(ulong.MaxValue - 10, 5);
            copy.Keep(ulong.MaxValue - 10, 100);
            copy.Keep(Pages * Page, 100);
        }, TestContext.Current.CancellationToken);
        copy.Run(null, TestContext.Current.CancellationToken);
        await writing.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        AssertSaved(writer);
    }

    [Fact]
    public async Task What_a_guest_writes_waits_until_it_is_saved()
    {
        using MappedMemory view = _memory.Regions[0].MapAgain();
        using OwnedFd file = Open(), zeros = SnapshotCalls.OpenFile("/dev/zero")!;
        MemoryImageWriter writer = new(file, _memory.Regions);
        LiveMemoryCopy copy = new(_watch!, writer, [(_memory.Regions[0], view)]);
        // The kernel writes in the guest's place: it waits there as KVM does.
        Task[] guest = [.. Enumerable.Range(0, 4).Select(seed => Task.Run(() =>
        {
            Random random = new(seed);
            for (int i = 0; i < 200; i++) ReadInto(zeros, view, random.Next(Pages - 1) * Page, 2 * Page);
        }, TestContext.Current.CancellationToken))];
        Thread.Sleep(20);
        Assert.DoesNotContain(guest, task => task.IsCompleted);
        copy.Run(null, TestContext.Current.CancellationToken);
        await Task.WhenAll(guest).WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        AssertSaved(writer);
        byte[] now = new byte[_content.Length];
        Assert.True(_memory.TryRead(0, now));
        Assert.NotEqual(_content, now);
    }

    [Fact]
    public async Task A_copy_that_fails_or_is_given_up_releases_the_guest()
    {
        using MappedMemory view = _memory.Regions[0].MapAgain();
        using OwnedFd zeros = SnapshotCalls.OpenFile("/dev/zero")!;
        // A file that takes no byte.
        using (OwnedFd file = new(MemoryCalls.MemfdCreate("full", MemoryCalls.MFD_CLOEXEC | MemoryCalls.MFD_ALLOW_SEALING)))
        {
            const int F_SEAL_WRITE = 8;
            Assert.Equal(0, MemoryCalls.Fcntl(file.Number, MemoryCalls.F_ADD_SEALS, F_SEAL_WRITE));
            LiveMemoryCopy copy = new(_watch!, new MemoryImageWriter(file, _memory.Regions), [(_memory.Regions[0], view)]);
            Task guest = Task.Run(() => ReadInto(zeros, view, 500 * Page, Page), TestContext.Current.CancellationToken);
            Assert.Throws<KernelException>(() => copy.Run(null, TestContext.Current.CancellationToken));
            await guest.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
            // A device finds out first.
            copy = new(_watch!, new MemoryImageWriter(file, _memory.Regions), [(_memory.Regions[0], view)]);
            copy.Keep(600 * Page, 1);
            Assert.Throws<KernelException>(() => copy.Run(null, TestContext.Current.CancellationToken));
        }
        using (OwnedFd file = Open())
        {
            LiveMemoryCopy copy = new(_watch!, new MemoryImageWriter(file, _memory.Regions), [(_memory.Regions[0], view)]);
            Task guest = Task.Run(() => ReadInto(zeros, view, 500 * Page, Page), TestContext.Current.CancellationToken);
            Assert.Throws<OperationCanceledException>(() => copy.Run(null, new CancellationToken(canceled: true)));
            await guest.WaitAsync(Watchdog, TestContext.Current.CancellationToken);
        }
    }

    private OwnedFd Open() => new(FileCalls.Open(_path, FileCalls.O_RDWR | FileCalls.O_CLOEXEC));

    private void AssertSaved(MemoryImageWriter writer)
    {
        byte[] saved = File.ReadAllBytes(_path);
        Assert.Equal(_content, saved);
        byte[] sums = writer.Sums();
        for (int chunk = 0; chunk < sums.Length / 4; chunk++)
            Assert.Equal(PageSums.OfChunk(saved.AsSpan(chunk * PageSums.ChunkBytes, PageSums.ChunkBytes)), BitConverter.ToUInt32(sums, chunk * 4));
    }

    private static unsafe void ReadInto(OwnedFd file, MappedMemory view, int offset, int length) =>
        SnapshotCalls.Read(file, new Span<byte>((byte*)view.Address + offset, length), 0, out _);
}
