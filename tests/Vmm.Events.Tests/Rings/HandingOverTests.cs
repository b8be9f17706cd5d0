using System.Net;
using System.Net.Sockets;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>When and to whom operations are handed over, and what comes back of more than there is room for.</summary>
[Collection(Alone.Name)]
public sealed class HandingOverTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Fact]
    public void Where_io_uring_is_forbidden_threads_carry_out_everything_and_it_is_said_once()
    {
        List<string> said = [];
        ForbiddenCall.On(ForbiddenCall.IoUringSetup, () =>
        {
            using RingTable table = new(RingEngine.Automatic, options => options with { OnFallBack = said.Add });
            Assert.True(table.Ring.IsOnThreads);
            using OwnedFd fd = RingTable.Open(table.NewFile());
            table.Run(async ring =>
            {
                using RingFile file = ring.Register(fd);
                (await ring.Write(file, table.Frozen("threads"u8), 0)).Buffer.Release();
                BufferResult read = await ring.Read(file, table.Pool.Rent(512), 0);
                Assert.Equal("threads"u8.ToArray(), read.Buffer.Bytes.ToArray());
                read.Buffer.Release();
            });
            Assert.Contains("forbids io_uring", Assert.Throws<KernelException>(() => new IoRing(table.Reactor, new RingOptions { Engine = RingEngine.Kernel })).Message,
                StringComparison.Ordinal);
        });
        Assert.Contains("forbids io_uring", Assert.Single(said), StringComparison.Ordinal);
    }

    [Fact]
    public void A_ring_that_takes_no_eventfd_is_none_and_nothing_of_it_stays_open()
    {
        List<string> said = [];
        string[] before = OpenDescriptors.OfReactors();
        ForbiddenCall.OnThread(() =>
        {
            const uint registerEventFd = 4;
            using Reactor own = new();
            ForbiddenCall.Forbid(ForbiddenCall.IoUringRegister, Errno.NotPermitted, registerEventFd);
            string message = Assert.Throws<KernelException>(() => new IoRing(own, new RingOptions { Engine = RingEngine.Kernel })).Message;
            Assert.Contains("forbids io_uring", message, StringComparison.Ordinal);
            using IoRing ring = new(own, new RingOptions { OnFallBack = said.Add });
            Assert.True(ring.IsOnThreads);
        });
        Assert.Contains("forbids io_uring", Assert.Single(said), StringComparison.Ordinal);
        Assert.Equal(before, OpenDescriptors.OfReactors());
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_eager_operation_is_handed_over_at_once_with_what_was_begun_before(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[512]));
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        using Socket client = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        using OwnedFd clientFd = RingTable.DuplicateOf(client);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            using RingFile socket = ring.Register(clientFd);
            RingOperation<BufferResult> reading = ring.Read(file, table.Pool.Rent(512), 0);
            Assert.Equal(0, ring.Statistics.Submissions);
            RingOperation<RingResult> connecting = ring.Connect(socket, listener.LocalEndPoint!);
            Assert.Equal(1, ring.Statistics.Submissions);
            (await connecting).ThrowIfFailed("connect");
            (await reading).Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_request_without_a_file_is_refused_before_anything_is_handed_over(RingEngine engine)
    {
        using RingTable table = new(engine);
        RecordingRequest request = new(_ => Assert.Fail("it was begun"));
        Assert.Throws<ArgumentNullException>("file", () => table.Ring.Fsync(request, null!, dataOnly: true));
        Assert.Throws<ArgumentNullException>("request", () => table.Ring.Fsync(null!, null!, dataOnly: true));
        Assert.Equal(0, table.Ring.Statistics.Submissions);
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_that_is_begun_while_others_wait_for_room_comes_behind_them(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { OperationsMax = 1 });
        using OwnedFd fd = RingTable.Open(table.NewFile());
        using RingFile file = table.Ring.Register(fd);
        List<int> order = [];
        const int last = 5;
        Assert.True(Begin(0) && Begin(1) && Begin(2) && Begin(3));
        table.RunUntil(() => order.Count == last);
        Assert.Equal([0, 1, 2, 3, 4], order);

        bool Begin(int number)
        {
            table.Ring.Fsync(new RecordingRequest(request =>
            {
                Assert.Equal([0], request.Results);
                order.Add(number);
                // Two are waiting still.
                if (number == 1) Begin(last - 1);
            }), file, dataOnly: true);
            return true;
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void Completions_that_find_no_room_are_not_lost(RingEngine engine)
    {
        const int Polls = 64;
        using RingTable table = new(engine, options => options with { SubmissionEntries = 8, CompletionEntries = 8 });
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        table.Run(async ring =>
        {
            RingOperation<RingResult>[] polls = new RingOperation<RingResult>[Polls];
            for (int i = 0; i < Polls; i++) polls[i] = ring.Poll(pipe, Interest.Readable);
            // Begun last and handed over last: when it is over, the kernel has all polls.
            await ring.After(TimeSpan.FromMilliseconds(1));
            writeEnd.WriteByte(1);
            foreach (RingOperation<RingResult> poll in polls) Assert.True(IoRing.ReadinessOf(await poll).IsReadable);
        });
        if (engine == RingEngine.Kernel) Assert.True(table.Ring.Statistics.Overflows > 0, table.Ring.Statistics.ToString());
    }
}
