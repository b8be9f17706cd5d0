using System.Net;
using System.Net.Sockets;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

public sealed class OperationTests
{
    private const int ReadWrite = 2;
    private const int Create = 0x40;

    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void A_file_is_opened_written_synced_read_examined_and_closed(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile();
        table.Run(async ring =>
        {
            DescriptorResult opened = await ring.Open(path, ReadWrite);
            using RingFile file = ring.Register(opened.Descriptor!);
            FrozenResult written = await ring.Write(file, table.Frozen("hello, disk"u8), 0);
            Assert.True(written.IsComplete);
            written.Buffer.Release();
            SlabBuffer more = table.Pool.Rent(512);
            more.Append("!!"u8);
            BufferResult appended = await ring.Write(file, more, 11);
            Assert.Equal((2, true), (appended.Result.Count, appended.IsComplete));
            appended.Buffer.Clear();
            (await ring.Fsync(file, dataOnly: true)).ThrowIfFailed("fsync");
            BufferResult read = await ring.Read(file, appended.Buffer, 7, count: 100);
            Assert.Equal((6, true, false), (read.Result.Count, read.IsShort, read.IsComplete));
            Assert.Equal("disk!!"u8.ToArray(), read.Buffer.Bytes.ToArray());
            read.Buffer.Release();
            StatxResult stat = await ring.Stat(path);
            Assert.Equal((13L, 1u), (stat.Size, stat.Links));
            Assert.Equal(0x8000, stat.Mode & 0xF000);
            file.Dispose();
            Assert.Equal(0, (await ring.Close(opened.Descriptor!)).Value);
            Assert.True(opened.Descriptor!.IsClosed);
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_the_kernel_refuses_comes_with_the_buffer(RingEngine engine)
    {
        using RingTable table = new(engine);
        table.Run(async ring =>
        {
            DescriptorResult missing = await ring.Open("/nowhere/at/all", 0);
            Assert.Equal(Errno.NoEntry, missing.Result.Error);
            Assert.Null(missing.Descriptor);
            Assert.Throws<KernelException>(() => missing.Result.ThrowIfFailed("cannot open '/nowhere/at/all'"));
            Assert.Equal(Errno.NoEntry, (await ring.Stat("/nowhere/at/all")).Result.Error);
            using OwnedFd directory = (await ring.Open("/tmp", 0)).Descriptor!;
            using RingFile file = ring.Register(directory);
            BufferResult read = await ring.Read(file, table.Pool.Rent(512), 0);
            Assert.Equal((Errno.IsDirectory, 0), (read.Result.Error, read.Buffer.Written));
            read.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void Several_buffers_are_read_and_written_at_once(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile());
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            FrozenBuffer[] parts = [table.Frozen(new byte[300]), table.Frozen("abc"u8), table.Frozen(new byte[500])];
            FrozenBuffersResult written = await ring.WriteV(file, parts, 0);
            Assert.Equal((803L, true), (written.Written, written.IsComplete));
            foreach (FrozenBuffer part in written.Buffers) part.Release();
            BuffersResult read = await ring.ReadV(file, [table.Pool.Rent(512), table.Pool.Rent(512)], 0);
            Assert.Equal((803, false), (read.Result.Count, read.IsComplete));
            Assert.Equal((512, 291), (read.Buffers[0].Written, read.Buffers[1].Written));
            Assert.Equal("abc"u8.ToArray(), read.Buffers[0].Bytes[300..303].ToArray());
            foreach (SlabBuffer buffer in read.Buffers) buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void Memory_of_the_callers_is_written_and_read_in_place(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile());
        byte[] content = GC.AllocateArray<byte>(1000, pinned: true);
        new Random(1).NextBytes(content);
        byte[] read = GC.AllocateArray<byte>(1000, pinned: true);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            IoVectors vectors = new(2);
            Assert.Throws<ArgumentOutOfRangeException>(() => ring.ReadV(file, 0, vectors));
            Unmoving.AddTo(vectors, content.AsSpan(0, 300));
            Unmoving.AddTo(vectors, content.AsSpan(300));
            Assert.Equal(1000, (await ring.WriteV(file, 4096, vectors, durable: true)).Value);
            vectors.Clear();
            Unmoving.AddTo(vectors, read);
            Assert.Equal(1000, (await ring.ReadV(file, 4096, vectors)).Value);
            Assert.Equal(content, read);
            Assert.Equal(0, (await ring.ReadV(file, 1 << 20, vectors)).Value);
            ring.ReadV(file, 4096, vectors).Abandon();
        });
        table.RunUntil(() => table.Ring.InFlight == 0);
    }

    [Theory, MemberData(nameof(Engines))]
    public void Descriptors_come_with_an_empty_message_too(RingEngine engine)
    {
        using RingTable table = new(engine);
        using SocketPair pair = new(SocketPair.Datagrams);
        using RingFile sender = table.Ring.Register(pair.Peer), receiver = table.Ring.Register(pair.Watched);
        using Pipe pipe = new();
        table.Run(async ring =>
        {
            FrozenResult sent = await ring.SendMessage(sender, table.Frozen([]), pipe.Read);
            sent.Result.ThrowIfFailed("send");
            sent.Buffer.Release();
            MessageResult received = await ring.ReceiveMessage(receiver, table.Pool.Rent(512), 1);
            Assert.Equal((0, 0, false), (received.Result.Value, received.Buffer.Written, received.IsCut));
            received.Buffer.Release();
            OwnedFd descriptor = Assert.Single(received.Descriptors);
            pipe.Read.Dispose();
            Assert.True(pipe.IsReadEndOpen);
            descriptor.Dispose();
            Assert.False(pipe.IsReadEndOpen);
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void Buffers_that_a_ring_registered_are_registered_by_the_next_one_when_it_has_ended(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile([1, 2, 3]));
        table.Ring.RegisterBuffers(table.Pool);
        Read(table.Ring, 3);
        using IoRing second = new(table.Reactor, new RingOptions { Engine = engine });
        Assert.Throws<InvalidOperationException>(() => second.RegisterBuffers(table.Pool));
        SlabBuffer kept = table.Pool.Rent(512);
        SlabPage page = kept.Block.Page;
        Assert.Equal(engine == RingEngine.Kernel, page.RegisteredIndex >= 0);
        table.Ring.Dispose();
        Assert.Equal(SlabPage.NotRegistered, page.RegisteredIndex);
        Assert.False(page.IsRefused);
        second.RegisterBuffers(table.Pool);
        Read(second, 3);
        Assert.Equal(engine == RingEngine.Kernel, page.RegisteredIndex >= 0);
        kept.Release();

        void Read(IoRing ring, int count)
        {
            using RingFile file = ring.Register(fd);
            RingOperation<BufferResult> reading = ring.Read(file, table.Pool.Rent(512), 0);
            table.RunUntil(() => reading.IsCompleted);
            BufferResult read = reading.GetAwaiter().GetResult();
            Assert.Equal(count, read.Result.Count);
            read.Buffer.Release();
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void Registered_buffers_read_and_write_like_others(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile());
        table.Ring.RegisterBuffers(table.Pool);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            for (int i = 0; i < 20; i++)
            {
                FrozenResult written = await ring.Write(file, table.Frozen([(byte)i, 2, 3]), 0);
                Assert.True(written.IsComplete);
                Assert.Equal(engine == RingEngine.Kernel, written.Buffer.Block.Page.RegisteredIndex >= 0);
                written.Buffer.Release();
                BufferResult read = await ring.Read(file, table.Pool.Rent(4096), 0);
                Assert.Equal([(byte)i, 2, 3], read.Buffer.Bytes.ToArray());
                read.Buffer.Release();
            }
            // A huge buffer has a page of its own, whose registration goes with it.
            BufferResult huge = await ring.Read(file, table.Pool.Rent(1 << 20), 0);
            Assert.Equal(3, huge.Result.Count);
            huge.Buffer.Release();
            huge = await ring.Read(file, table.Pool.Rent(1 << 21), 0);
            Assert.Equal(3, huge.Result.Count);
            huge.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_connection_is_made_and_carries_bytes_both_ways(RingEngine engine)
    {
        using RingTable table = new(engine);
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(4);
        table.Run(async ring =>
        {
            using OwnedFd listening = RingTable.DuplicateOf(listener);
            using RingFile listeningFile = ring.Register(listening);
            using Socket client = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            using OwnedFd clientFd = RingTable.DuplicateOf(client);
            using RingFile clientFile = ring.Register(clientFd);
            RingOperation<DescriptorResult> accepting = ring.Accept(listeningFile);
            (await ring.Connect(clientFile, listener.LocalEndPoint!)).ThrowIfFailed("connect");
            using OwnedFd serverFd = (await accepting).Descriptor!;
            using RingFile server = ring.Register(serverFd);

            RingOperation<RingResult> readable = ring.Poll(server, Interest.Readable);
            (await ring.Send(clientFile, table.Frozen("ping"u8))).Buffer.Release();
            Assert.True(IoRing.ReadinessOf(await readable).IsReadable);
            BufferResult got = await ring.Receive(server, table.Pool.Rent(512));
            Assert.Equal("ping"u8.ToArray(), got.Buffer.Bytes.ToArray());
            got.Buffer.Release();
            (await ring.Shutdown(server, SocketShutdown.Both)).ThrowIfFailed("shutdown");
            BufferResult end = await ring.Receive(clientFile, table.Pool.Rent(512));
            Assert.Equal((0, true), (end.Result.Value, end.IsShort));
            end.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_connection_waits_for_room_in_the_backlog_of_its_peer(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile();
        File.Delete(path);
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        List<Socket> others = [];
        while (TryConnect(path) is { } other) others.Add(other);
        using Socket client = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using OwnedFd clientFd = RingTable.DuplicateOf(client);
        table.Run(async ring =>
        {
            using RingFile clientFile = ring.Register(clientFd);
            RingOperation<RingResult> connecting = ring.Connect(clientFile, listener.LocalEndPoint!);
            await ring.After(TimeSpan.FromMilliseconds(20));
            Assert.False(connecting.IsCompleted);
            foreach (Socket _ in others) listener.Accept().Dispose();
            (await connecting).ThrowIfFailed("connect");
        });
        others.ForEach(other => other.Dispose());

        static Socket? TryConnect(string path)
        {
            Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(path));
                return socket;
            }
            catch (SocketException full) when (full.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain)
            {
                socket.Dispose();
                return null;
            }
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void Descriptors_travel_with_a_message(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd a, OwnedFd b) = RingTable.SocketPair();
        using EventFd sent = new();
        table.Run(async ring =>
        {
            using RingFile left = ring.Register(a);
            using RingFile right = ring.Register(b);
            RingOperation<MessageResult> receiving = ring.ReceiveMessage(right, table.Pool.Rent(512), descriptorsMax: 4);
            FrozenResult done = await ring.SendMessage(left, table.Frozen("fds"u8), sent, sent);
            Assert.Equal(3, done.Result.Value);
            done.Buffer.Release();
            MessageResult got = await receiving;
            Assert.Equal((3, 2, false), (got.Result.Value, got.Descriptors.Length, got.IsCut));
            got.Buffer.Release();
            using EventFd arrived = EventFd.Adopt(got.Descriptors[1].Duplicate().Detached());
            arrived.Signal(5);
            Assert.True(sent.TryRead(out ulong count));
            Assert.Equal(5u, count);
            foreach (OwnedFd descriptor in got.Descriptors) descriptor.Dispose();
        });
        a.Dispose();
        b.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void Timeouts_end_and_are_cancelled(RingEngine engine)
    {
        using RingTable table = new(engine);
        table.Run(async ring =>
        {
            Assert.Equal(Errno.TimerExpired, (await ring.After(TimeSpan.FromMilliseconds(5))).Error);
            RingOperation<RingResult> late = ring.After(TimeSpan.FromHours(1));
            await ReactorTask.Yield();
            Assert.True(late.Cancel());
            Assert.True((await late).IsCanceled);
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void Bytes_are_spliced_from_a_file_into_a_pipe(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile("spliced"u8));
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            using OwnedFd into = new(RingTable.Dup((int)writeEnd.SafeFileHandle.DangerousGetHandle()));
            using RingFile pipe = ring.Register(into);
            using RingFile from = ring.Register(readEnd);
            // A position is one, also if it is 0 and the file's own is another.
            BufferResult before = await ring.Read(file, table.Pool.Rent(512), IoRing.CurrentPosition, count: 3);
            Assert.Equal(3, before.Result.Count);
            before.Buffer.Release();
            Assert.Equal(7, (await ring.Splice(file, 0, pipe, IoRing.CurrentPosition, 100)).Value);
            BufferResult read = await ring.Read(from, table.Pool.Rent(512));
            Assert.Equal("spliced"u8.ToArray(), read.Buffer.Bytes.ToArray());
            read.Buffer.Release();
        });
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_chain_runs_in_order_and_ends_with_its_first_failure(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile();
        using OwnedFd fd = RingTable.Open(path);
        using OwnedFd readOnlyFd = RingTable.Open(table.NewFile(), FileAccess.Read);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            using RingFile readOnly = ring.Register(readOnlyFd);
            List<RingOperation<FrozenResult>> writes = [];
            RingOperation<BufferResult> reading;
            using (ring.Chain())
            {
                Assert.Throws<InvalidOperationException>(() => { ring.Chain(); });
                for (int i = 0; i < 20; i++) writes.Add(ring.Write(file, table.Frozen([(byte)i]), 0));
                reading = ring.Read(file, table.Pool.Rent(512), 0, count: 1);
            }
            foreach (RingOperation<FrozenResult> write in writes) (await write).Buffer.Release();
            BufferResult read = await reading;
            Assert.Equal(19, read.Buffer.Bytes[0]);
            read.Buffer.Release();

            RingOperation<FrozenResult> refused;
            RingOperation<FrozenResult> cancelled;
            using (ring.Chain())
            {
                refused = ring.Write(readOnly, table.Frozen([77]), 0);
                cancelled = ring.Write(file, table.Frozen([77]), 0);
            }
            FrozenResult first = await refused;
            FrozenResult second = await cancelled;
            Assert.Equal((Errno.BadDescriptor, Errno.Canceled), (first.Result.Error, second.Result.Error));
            first.Buffer.Release();
            second.Buffer.Release();
        });
        Assert.Equal([19], File.ReadAllBytes(path));
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_eager_operation_goes_to_the_kernel_at_once_and_any_other_with_the_turn(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using RingFile file = table.Ring.Register(fd);
        RingOperation<RingResult> waiting = table.Ring.Fsync(file);
        Assert.Equal(0, table.Ring.Statistics.Submissions);
        RingOperation<RingResult> eager = table.Ring.Fsync(file).Eagerly();
        Assert.Equal(1, table.Ring.Statistics.Submissions);
        table.RunUntil(() => waiting.IsCompleted && eager.IsCompleted);
        Assert.Equal(0, waiting.GetAwaiter().GetResult().Value + eager.GetAwaiter().GetResult().Value);
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_handle_is_used_once(RingEngine engine)
    {
        using RingTable table = new(engine);
        RingOperation<RingResult> operation = table.Ring.After(TimeSpan.FromMilliseconds(1));
        Assert.Throws<InvalidOperationException>(() => operation.GetAwaiter().GetResult());
        table.RunUntil(() => operation.IsCompleted);
        operation.GetAwaiter().GetResult();
        Assert.Throws<InvalidOperationException>(() => operation.IsCompleted);
        Assert.Throws<InvalidOperationException>(() => operation.Cancel());
        Assert.Throws<InvalidOperationException>(operation.Abandon);
    }

    [Theory, MemberData(nameof(Engines))]
    public void Awaiting_an_operation_allocates_nothing_once_warm(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[4096]));
        using RingFile file = table.Ring.Register(fd);
        ReactorTasks tasks = ReactorTasks.Of(table.Reactor);
        SteadyState.AllocatesNothing(() =>
        {
            ReactorTask<int> task = tasks.Spawn(static table => ReadOften(table.Table, table.File), (Table: table, File: file));
            while (!task.IsCompleted) table.Reactor.RunOnce(TimeSpan.Zero);
            if (task.GetAwaiter().GetResult() != 500 * 4096) throw new InvalidDataException();
        });

        static async ReactorTask<int> ReadOften(RingTable table, RingFile file)
        {
            int sum = 0;
            for (int i = 0; i < 500; i++)
            {
                BufferResult read = await table.Ring.Read(file, table.Pool.Rent(4096), 0);
                FrozenBuffer frozen = read.Buffer.Freeze(read.Result.Count);
                sum += frozen.Length;
                frozen.Release();
            }
            return sum;
        }
    }
}
