using System.Security.Cryptography;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

[Collection(Alone.Name)]
public sealed class PartialTransferTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void WriteAll_gets_everything_through_a_pipe_that_is_full_again_and_again(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        using FileStream reader = new(new Microsoft.Win32.SafeHandles.SafeFileHandle(RingTable.Dup(readEnd.Number), ownsHandle: true), FileAccess.Read, 0);
        readEnd.Dispose();
        SendThrough(table, new OwnedFd(RingTable.Dup((int)writeEnd.SafeFileHandle.DangerousGetHandle())), reader);
        writeEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void WriteAll_gets_everything_through_a_slow_socket(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd a, OwnedFd b) = RingTable.SocketPair();
        using FileStream reader = new(new Microsoft.Win32.SafeHandles.SafeFileHandle(RingTable.Dup(b.Number), ownsHandle: true), FileAccess.Read, 0);
        b.Dispose();
        SendThrough(table, a, reader);
    }

    private static void SendThrough(RingTable table, OwnedFd into, FileStream reader)
    {
        byte[] sent = RandomNumberGenerator.GetBytes(700_000);
        byte[] got = new byte[sent.Length];
        Thread reading = new(() =>
        {
            for (int at = 0; at < got.Length;)
            {
                int count = reader.Read(got, at, Math.Min(7001, got.Length - at));
                if (count == 0) return;
                at += count;
            }
        });
        reading.Start();
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(into);
            FrozenBuffer[] parts = [.. sent.Chunk(10_000).Select(chunk => table.Frozen(chunk))];
            FrozenBuffersResult result = await ring.WriteAll(file, parts);
            Assert.True(result.IsComplete);
            foreach (FrozenBuffer part in result.Buffers) part.Release();
        });
        into.Dispose();
        reading.Join();
        Assert.Equal(sent, got);
    }

    [Theory, MemberData(nameof(Engines))]
    public void ReadAll_waits_until_everything_is_there_however_little_comes_at_a_time(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile reader, FileStream writer) = table.NewPipe();
        byte[] sent = RandomNumberGenerator.GetBytes(5000);
        ReactorTask<BufferResult> reading = ReactorTasks.Of(table.Reactor).Spawn(
            static state => state.Ring.ReadAll(state.Reader, state.Buffer, 5000), (table.Ring, Reader: reader, Buffer: table.Pool.Rent(8192)));
        for (int at = 0; at < sent.Length; at += 1250)
        {
            Assert.False(reading.IsCompleted);
            writer.Write(sent, at, 1250);
            int soFar = at + 1250;
            table.Reactor.RunOnce(TimeSpan.FromMilliseconds(1));
            Assert.True(soFar == sent.Length || !reading.IsCompleted);
        }
        table.RunUntil(() => reading.IsCompleted);
        BufferResult all = reading.GetAwaiter().GetResult();
        Assert.True(all.IsComplete);
        Assert.Equal(sent, all.Buffer.Bytes.ToArray());
        all.Buffer.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void ReadAll_says_how_far_it_came_at_the_end_of_a_file_and_of_a_stream(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile([1, 2, 3, 4, 5, 6]));
        (RingFile reader, FileStream writer) = table.NewPipe();
        writer.Write([7, 8]);
        writer.Dispose();
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            BufferResult some = await ring.ReadAll(file, table.Pool.Rent(512), 100, offset: 2);
            Assert.Equal((4, true, false), (some.Result.Value, some.IsShort, some.IsComplete));
            Assert.Equal([3, 4, 5, 6], some.Buffer.Bytes.ToArray());
            some.Buffer.Clear();
            BufferResult exact = await ring.ReadAll(file, some.Buffer, 3, offset: 1);
            Assert.Equal([2, 3, 4], exact.Buffer.Bytes.ToArray());
            exact.Buffer.Clear();
            BufferResult end = await ring.ReadAll(reader, exact.Buffer, 3);
            Assert.Equal((2, true), (end.Result.Value, end.IsShort));
            end.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void ReadAll_gives_the_buffer_back_with_an_error_and_refuses_more_than_there_is_room_for(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(Path.GetTempPath(), FileAccess.Read, isFolder: true);
        table.Run(async ring =>
        {
            using RingFile folder = ring.Register(fd);
            SlabBuffer buffer = table.Pool.Rent(512);
            await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => ring.ReadAll(folder, buffer, 513, 0).AsTask());
            await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => ring.ReadAll(folder, buffer, 0, 0).AsTask());
            BufferResult refused = await ring.ReadAll(folder, buffer, 10, 0);
            Assert.Equal((Errno.IsDirectory, 10), (refused.Result.Error, refused.Asked));
            refused.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_stream_whose_WriteAll_was_aborted_says_so_and_refuses_another(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        using OwnedFd into = new(RingTable.Dup((int)writeEnd.SafeFileHandle.DangerousGetHandle()));
        RingFile file = table.Ring.Register(into);
        ReactorTasks tasks = ReactorTasks.Of(table.Reactor);
        // Longer than a pipe takes: half of the frame is out when it is aborted.
        ReactorTask<FrozenBuffersResult> writing = tasks.Spawn(() => table.Ring.WriteAll(file, [.. Enumerable.Range(0, 4).Select(_ => table.Frozen(new byte[60_000]))]));
        for (int i = 0; i < 10; i++) table.Reactor.RunOnce(TimeSpan.FromMilliseconds(1));
        Assert.False(writing.IsCompleted);
        Assert.False(file.IsCut);
        writing.Abort();
        table.RunUntil(() => writing.IsCompleted && table.Ring.InFlight == 0);
        Assert.Throws<TaskAbortedException>(() => writing.GetAwaiter().GetResult());
        Assert.True(file.IsCut);
        FrozenBuffer next = table.Frozen([1]);
        ReactorTask<FrozenBuffersResult> refused = tasks.Spawn(() => table.Ring.WriteAll(file, [next]));
        Assert.Contains("aborted", Assert.Throws<InvalidOperationException>(() => refused.GetAwaiter().GetResult()).Message, StringComparison.Ordinal);
        next.Release();
        file.Dispose();
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void WriteAll_says_how_far_it_came_when_the_disk_is_full(RingEngine engine)
    {
        // A memory file cannot grow past what its writers may: the limit stands for a full disk, and its error for ENOSPC.
        Assert.SkipUnless(File.Exists("/dev/full"), "there is no /dev/full");
        using RingTable table = new(engine);
        using OwnedFd full = RingTable.Open("/dev/full");
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(full);
            FrozenBuffersResult result = await ring.WriteAll(file, [table.Frozen(new byte[100]), table.Frozen(new byte[100])]);
            Assert.Equal((Errno.NoSpace, 0L, false), (result.Result.Error, result.Written, result.IsComplete));
            foreach (FrozenBuffer part in result.Buffers) part.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void WriteAll_stops_in_the_middle_when_space_runs_out(RingEngine engine)
    {
        using TinyFileSystem disk = new(1 << 20);
        using RingTable table = new(engine);
        File.WriteAllBytes(disk.PathOf("file"), []);
        using OwnedFd fd = RingTable.Open(disk.PathOf("file"));
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            FrozenBuffer[] parts = [.. Enumerable.Range(0, 30).Select(i => table.Frozen(new byte[64 << 10]))];
            FrozenBuffersResult result = await ring.WriteAll(file, parts, 0);
            Assert.Equal(Errno.NoSpace, result.Result.Error);
            Assert.InRange(result.Written, 1, (30 << 16) - 1);
            Assert.Equal(result.Written, new FileInfo(disk.PathOf("file")).Length);
            foreach (FrozenBuffer part in result.Buffers) part.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_file_truncated_under_its_readers_gives_short_reads_and_nothing_else(RingEngine engine)
    {
        using RingTable table = new(engine);
        byte[] content = new byte[1 << 20];
        Array.Fill(content, (byte)9);
        string path = table.NewFile(content);
        using OwnedFd fd = RingTable.Open(path);
        using FileStream truncating = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        Random random = new(TestSeed.Take());
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            for (int round = 0; round < 100; round++)
            {
                List<RingOperation<BufferResult>> reads = [];
                for (int i = 0; i < 8; i++) reads.Add(ring.Read(file, table.Pool.Rent(64 << 10), (ulong)random.Next(content.Length)));
                if (round % 2 == 0) ring.Flush();
                truncating.SetLength(random.Next(content.Length));
                foreach (RingOperation<BufferResult> reading in reads)
                {
                    BufferResult read = await reading;
                    Assert.Equal(Errno.None, read.Result.Error);
                    Assert.Equal(-1, read.Buffer.Bytes.IndexOfAnyExcept((byte)9, (byte)0));
                    read.Buffer.Release();
                }
            }
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_reader_that_is_gone_is_an_error_and_no_signal(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        readEnd.Dispose();
        (OwnedFd a, OwnedFd b) = RingTable.SocketPair();
        b.Dispose();
        table.Run(async ring =>
        {
            using OwnedFd pipeFd = new(RingTable.Dup((int)writeEnd.SafeFileHandle.DangerousGetHandle()));
            using RingFile pipe = ring.Register(pipeFd);
            using RingFile socket = ring.Register(a);
            FrozenResult written = await ring.Write(pipe, table.Frozen("x"u8));
            Assert.Equal(Errno.BrokenPipe, written.Result.Error);
            FrozenResult sent = await ring.Send(socket, written.Buffer);
            Assert.Equal(Errno.BrokenPipe, sent.Result.Error);
            sent.Buffer.Release();
        });
        writeEnd.Dispose();
        a.Dispose();
    }
}
