using Vmm.Events.Buffers;
using Vmm.Events.Rings;

namespace Vmm.Events.Tests.Rings;

public sealed class RawRequestTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    private static IoVectors Over(params ReadOnlySpan<LentBuffer> buffers)
    {
        IoVectors vectors = new(Math.Max(1, buffers.Length));
        foreach (LentBuffer buffer in buffers) vectors.Add(buffer.Address, 512);
        return vectors;
    }

    private static LentBuffer Lent(SlabPool pool, byte value)
    {
        SlabBuffer buffer = pool.Rent(512);
        buffer.Room.Fill(value);
        buffer.Advance(512);
        return buffer.Lend();
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_was_written_from_several_pieces_is_read_into_several(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile());
        using RingFile file = table.Ring.Register(fd);
        LentBuffer[] source = [Lent(table.Pool, 1), Lent(table.Pool, 2)];
        LentBuffer[] target = [Lent(table.Pool, 0), Lent(table.Pool, 0)];

        RecordingRequest request = new();
        table.Ring.WriteV(request, file, 4096, Over(source));
        Assert.True(request.IsInFlight);
        table.RunUntil(() => request.Results.Count == 1);
        table.Ring.Fsync(request, file, dataOnly: true);
        table.RunUntil(() => request.Results.Count == 2);
        table.Ring.ReadV(request, file, 4096, Over(target));
        table.RunUntil(() => request.Results.Count == 3);

        Assert.Equal([1024, 0, 1024], request.Results);
        Assert.False(request.IsInFlight);
        for (int i = 0; i < 2; i++)
        {
            source[i].Release();
            SlabBuffer read = target[i].Return(0);
            Assert.Equal(-1, read.Bytes.IndexOfAnyExcept((byte)(i + 1)));
            read.Release();
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void Operations_of_one_turn_go_to_the_kernel_in_one_call(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[64 * 512]));
        using RingFile file = table.Ring.Register(fd);
        LentBuffer[] buffers = [.. Enumerable.Range(0, 32).Select(_ => Lent(table.Pool, 0xEE))];
        RecordingRequest[] requests = [.. buffers.Select(_ => new RecordingRequest())];
        for (int i = 0; i < requests.Length; i++) table.Ring.ReadV(requests[i], file, (ulong)i * 512, Over(buffers[i]));
        Assert.Equal(0, table.Ring.Statistics.Submissions);
        table.RunUntil(() => requests.All(request => request.Results.Count == 1));
        Assert.Equal(1, table.Ring.Statistics.Submissions);
        Assert.All(requests, request => Assert.Equal(512, request.Results[0]));
        foreach (LentBuffer buffer in buffers) buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void More_operations_than_the_ring_has_entries_wait_their_turn(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { SubmissionEntries = 4, CompletionEntries = 4, OperationsMax = 64 });
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using RingFile file = table.Ring.Register(fd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        RecordingRequest[] requests = [.. Enumerable.Range(0, 1000).Select(_ => new RecordingRequest())];
        IoVectors vectors = Over(buffer);
        foreach (RecordingRequest request in requests) table.Ring.ReadV(request, file, 0, vectors);
        Assert.Equal(1000, table.Ring.InFlight);
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.All(requests, request => Assert.Equal([512], request.Results));
        Assert.True(table.Ring.Statistics.Held > 0);
        buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void Results_tell_short_reads_ends_of_file_and_errors(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[700]));
        RingFile file = table.Ring.Register(fd);
        using OwnedFd readOnlyFd = RingTable.Open(table.NewFile(), FileAccess.Read);
        RingFile readOnly = table.Ring.Register(readOnlyFd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        RecordingRequest request = new();
        table.Ring.ReadV(request, file, 512, Over(buffer));
        table.RunUntil(() => request.Results.Count == 1);
        table.Ring.ReadV(request, file, 7000, Over(buffer));
        table.RunUntil(() => request.Results.Count == 2);
        table.Ring.WriteV(request, readOnly, 0, Over(buffer));
        table.RunUntil(() => request.Results.Count == 3);
        Assert.Equal([188, 0, -(int)Errno.BadDescriptor], request.Results);
        buffer.Release();
        file.Dispose();
        readOnly.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_request_may_be_begun_again_by_its_own_completion(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using RingFile file = table.Ring.Register(fd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        IoVectors vectors = Over(buffer);
        RecordingRequest request = new(self =>
        {
            if (self.Results.Count < 100) table.Ring.ReadV(self, file, 0, vectors);
        });
        table.Ring.ReadV(request, file, 0, vectors);
        Assert.Throws<InvalidOperationException>(() => table.Ring.ReadV(request, file, 0, vectors));
        table.RunUntil(() => request.Results.Count == 100);
        buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_file_stays_open_until_the_last_operation_on_it_is_over(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        RingFile file = table.Ring.Register(readEnd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        RecordingRequest request = new();
        table.Ring.ReadV(request, file, ulong.MaxValue, Over(buffer));
        table.Reactor.RunOnce(TimeSpan.Zero);
        file.Dispose();
        readEnd.Dispose();
        writeEnd.Write([1, 2, 3]);
        table.RunUntil(() => request.Results.Count == 1);
        Assert.Equal([3], request.Results);
        Assert.Throws<ObjectDisposedException>(() => table.Ring.ReadV(request, file, 0, Over(buffer)));
        Assert.Throws<IOException>(() => writeEnd.Write([4]));
        writeEnd.Dispose();
        buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void Registered_files_are_reused_beyond_the_size_of_the_table(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { FilesMax = 2 });
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        RecordingRequest request = new();
        for (int i = 1; i <= 5; i++)
        {
            using RingFile first = table.Ring.Register(fd);
            using RingFile second = table.Ring.Register(fd);
            using RingFile third = table.Ring.Register(fd);
            Assert.True(first.IsRegistered && second.IsRegistered);
            Assert.False(third.IsRegistered);
            table.Ring.ReadV(request, i % 2 == 0 ? first : third, 0, Over(buffer));
            table.RunUntil(() => request.Results.Count == i);
        }
        Assert.All(request.Results, result => Assert.Equal(512, result));
        buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void Holes_are_punched(RingEngine engine)
    {
        using RingTable table = new(engine);
        byte[] content = new byte[16384];
        Array.Fill(content, (byte)7);
        string path = table.NewFile(content);
        using OwnedFd fd = RingTable.Open(path);
        using RingFile file = table.Ring.Register(fd);
        RecordingRequest request = new();
        table.Ring.Fallocate(request, file, FallocateMode.PunchHole | FallocateMode.KeepSize, 4096, 4096);
        table.RunUntil(() => request.Results.Count == 1);
        Assert.Equal([0], request.Results);
        content.AsSpan(4096, 4096).Clear();
        Assert.Equal(content, File.ReadAllBytes(path));
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_completion_that_throws_is_reported_and_the_others_arrive(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using RingFile file = table.Ring.Register(fd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        IoVectors vectors = Over(buffer);
        RecordingRequest bad = new(_ => throw new InvalidOperationException("on purpose"));
        RecordingRequest good = new();
        table.Ring.ReadV(bad, file, 0, vectors);
        table.Ring.ReadV(good, file, 0, vectors);
        table.RunUntil(() => good.Results.Count == 1 && bad.Results.Count == 1);
        Assert.Equal("on purpose", Assert.Single(table.Failures).Exception.Message);
        table.Failures.Clear();
        buffer.Release();
    }

    [Fact]
    public void Beginning_and_completing_allocate_nothing_once_warm()
    {
        using RingTable table = new(RingEngine.Kernel);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using RingFile file = table.Ring.Register(fd);
        LentBuffer buffer = Lent(table.Pool, 0xEE);
        IoVectors vectors = Over(buffer);
        CountingRequest request = new();
        SteadyState.AllocatesNothing(() => Rounds(1000));
        Assert.True(request.Bytes > 0);
        buffer.Release();

        void Rounds(int count)
        {
            for (int i = 0; i < count; i++)
            {
                table.Ring.ReadV(request, file, 0, vectors);
                while (request.IsInFlight) table.Reactor.RunOnce(TimeSpan.Zero);
            }
        }
    }

    private sealed class CountingRequest : RingRequest
    {
        internal long Bytes { get; private set; }

        protected internal override void Complete(int result) => Bytes += result;
    }
}
