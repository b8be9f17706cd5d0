using Vmm.Events.Buffers;
using Vmm.Events.Native;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Events.Tests.Rings;

/// <summary>A kernel whose ring lacks operations, as older ones do: threads carry those out, and nobody sees a difference.</summary>
public sealed class SplitRingEngineTests
{
    private static readonly IoUringOp[][] Lacks =
    [
        [IoUringOp.Read, IoUringOp.ReadFixed],
        [IoUringOp.OpenAt, IoUringOp.Statx, IoUringOp.Fsync, IoUringOp.Close],
        [IoUringOp.Write, IoUringOp.WriteFixed, IoUringOp.WriteV, IoUringOp.Timeout],
        [IoUringOp.FilesUpdate],
        [IoUringOp.LinkTimeout, IoUringOp.Fsync],
    ];

    public static TheoryData<int> Cases => [.. Enumerable.Range(0, Lacks.Length)];

    [Theory, MemberData(nameof(Cases))]
    public void What_the_ring_lacks_runs_on_threads_and_is_said_once(int lack)
    {
        List<string> said = [];
        using RingTable table = new(RingEngine.Automatic, options => options with { Lacking = Lacks[lack], OnFallBack = said.Add });
        Assert.Equal("io_uring and threads", table.Ring.EngineName);
        Assert.Contains(Lacks[lack][0].ToString(), Assert.Single(said), StringComparison.Ordinal);
        table.Ring.RegisterBuffers(table.Pool);
        string path = table.NewFile();
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        table.Run(async ring =>
        {
            DescriptorResult opened = await ring.Open(path, 2);
            using RingFile file = ring.Register(opened.Descriptor!);
            RingOperation<FrozenResult> writing;
            RingOperation<RingResult> syncing;
            using (ring.Chain())
            {
                writing = ring.Write(file, table.Frozen("both"u8), 0);
                syncing = ring.Fsync(file);
            }
            FrozenResult written = await writing;
            Assert.True(written.IsComplete);
            written.Buffer.Release();
            (await syncing).ThrowIfFailed("fsync");
            BufferResult read = await ring.Read(file, table.Pool.Rent(512), 0);
            Assert.Equal("both"u8.ToArray(), read.Buffer.Bytes.ToArray());
            Assert.Equal(4, (await ring.Stat(path)).Size);
            read.Buffer.Clear();

            // Whoever carries out the update, reads, writes and what is behind it in a chain meet the new file.
            using OwnedFd other = RingTable.Open(table.NewFile("other"u8));
            RingOperation<RingResult> updating;
            RingOperation<RingResult> limit;
            using (ring.Chain())
            {
                updating = ring.UpdateFile(file, other);
                syncing = ring.Fsync(file);
                limit = ring.LinkTimeout(TimeSpan.FromHours(1));
            }
            Assert.Equal(1, (await updating).Value);
            (await syncing).ThrowIfFailed("fsync");
            Assert.Equal(Errno.Canceled, (await limit).Error);
            (await ring.Write(file, table.Frozen("O"u8), 0)).Buffer.Release();
            read = await ring.Read(file, read.Buffer, 0);
            Assert.Equal("Other"u8.ToArray(), read.Buffer.Bytes.ToArray());
            read.Buffer.Clear();

            using RingFile pipe = ring.Register(readEnd);
            BufferResult timedOut = await ring.Read(pipe, read.Buffer).WithTimeout(TimeSpan.FromMilliseconds(5));
            Assert.True(timedOut.Result.IsCanceled);
            timedOut.Buffer.Release();
            Assert.Equal(Errno.TimerExpired, (await ring.After(TimeSpan.FromMilliseconds(2))).Error);
            ring.Read(pipe, table.Pool.Rent(512)).Abandon();
            ring.Read(pipe, table.Pool.Rent(512)).Abandon();
        });
        table.RunUntil(() => table.Ring.InFlight == 0);
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    [Fact]
    public void A_ring_that_has_to_be_the_kernels_is_refused_where_it_lacks_something() =>
        Assert.Throws<KernelException>(() => new RingTable(RingEngine.Kernel, options => options with { Lacking = Lacks[0] }));
}
