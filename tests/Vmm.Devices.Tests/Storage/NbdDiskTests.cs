using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>What an NBD client asks its server for, and what a driver sees of it.</summary>
[Collection(Alone.Name)]
public sealed class NbdDiskTests
{
    private const int Bytes = 1 << 20;
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);

    [Fact]
    public void Requests_are_asked_for_as_the_driver_means_them()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        Ok(guest, guest.Queue(0).Write(8, new byte[4096]));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        Ok(guest, guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 16, 8));
        Ok(guest, guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 24, 8, flags: 1));
        Ok(guest, guest.Queue(0).Segment(BlockRequestType.Discard, 32, 8));
        guest.Driver.WriteConfig<byte>(32, 0);
        Ok(guest, guest.Queue(0).Write(40, new byte[512]));
        // Under extended headers a write says that its length is that of a payload.
        const ushort PayloadLength = NbdProtocol.CommandPayloadLength;
        Assert.Equal(
            [
                (NbdCommand.Write, PayloadLength, 4096UL, 4096UL),
                (NbdCommand.Flush, (ushort)0, 0UL, 0UL),
                (NbdCommand.WriteZeroes, NbdProtocol.CommandNoHole, 8192UL, 4096UL),
                (NbdCommand.WriteZeroes, (ushort)0, 12288UL, 4096UL),
                (NbdCommand.Trim, (ushort)0, 16384UL, 4096UL),
                (NbdCommand.Write, (ushort)(PayloadLength | NbdProtocol.CommandFua), 20480UL, 512UL),
            ],
            server.Requests.Select(request => (request.Command, request.Flags, request.Offset, request.Length)));
    }

    [Fact]
    public void A_server_without_FUA_is_asked_to_flush_after_each_durable_write()
    {
        using NbdTestServer server = new(Bytes) { Flags = NbdFlags.HasFlags | NbdFlags.SendFlush };
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        guest.Driver.WriteConfig<byte>(32, 0);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        Assert.Equal([NbdCommand.Write, NbdCommand.Flush], server.Requests.Select(request => request.Command));
    }

    [Fact]
    public void A_driver_is_shown_the_blocks_of_the_server()
    {
        using NbdTestServer server = new(Bytes) { Blocks = (4096, 65536, 1 << 25) };
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        Assert.Equal((4096u, 4, 128u), (guest.Driver.ReadConfig<uint>(20), guest.Driver.ReadConfig<byte>(24),
            guest.Driver.ReadConfig<uint>(44)));
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    public void Queues_have_reactors_of_their_own_only_where_several_connections_are_safe(bool isSafe, bool areIndependent)
    {
        using NbdTestServer server = new(Bytes);
        if (!isSafe) server.Flags &= ~NbdFlags.CanMultiConn;
        using BlockDevice device = new("vda", NbdDisk.Open(server.Uri, readOnly: false, Long), new DiskSpec { Queues = 2 });
        Assert.Equal(areIndependent, device.QueuesAreIndependent);
    }

    [Fact]
    public void Several_connections_are_made_where_they_are_safe_and_asked_for()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", NbdDisk.Open(server.Uri, readOnly: false, Long,
            connections: 3)));
        guest.RunUntil(() => server.Connections == 3);
        server.Flags &= ~NbdFlags.CanMultiConn;
        using SimulatedGuest other = SimulatedGuest.For(new BlockDevice("vdb", NbdDisk.Open(server.Uri, readOnly: false, Long,
            connections: 3)));
        Ok(other, other.Queue(0).Read(0));
        Assert.Equal(4, server.Connections);
    }

    [Fact]
    public void A_driver_that_comes_after_another_has_the_same_connection()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        for (int round = 0; round < 5; round++)
        {
            Ok(guest, guest.Queue(0).Read(0));
            guest.Reset().Start();
        }
        Assert.Equal(1, server.Connections);
    }

    [Theory]
    [InlineData(3 << 20)]
    [InlineData(9 << 20)]
    public void A_request_that_is_longer_than_the_server_takes_is_cut(int bytes)
    {
        using NbdTestServer server = new(16 << 20) { Blocks = (1, 4096, 1 << 20) };
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        byte[] data = BlockGuest.Pattern(bytes);
        Ok(guest, guest.Queue(0).Write(0, data));
        DriverRequest read = guest.Queue(0).Read(0, bytes / 512);
        Ok(guest, read);
        Assert.Equal(data, read.Data());
        Assert.All(server.Requests, request => Assert.InRange(request.Length, 0UL, 1UL << 20));
    }

    [Fact]
    public void Delays_and_errors_of_a_server_are_those_of_its_requests()
    {
        using ServerProcess server = ServerProcess.Nbdkit("--filter=delay", "--filter=error", "memory", "1M", "rdelay=1ms", "wdelay=1ms",
            "error=EIO", "error-pread-rate=20%");
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        byte[] data = BlockGuest.Pattern(4096);
        Ok(guest, guest.Queue(0).Write(0, data));
        DriverRequest[] reads = [.. Enumerable.Range(0, 100).Select(_ => guest.Queue(0).Read(0, 8))];
        guest.Kick(0).RunUntil(() => reads.All(read => read.IsUsed));
        Assert.All(reads.Where(read => read.Status() == BlockStatus.Ok), read => Assert.Equal(data, read.Data()));
        Assert.InRange(reads.Count(read => read.Status() == BlockStatus.IoError), 1, 60);
        Ok(guest, guest.Queue(0).Write(0, data), guest.Queue(0).Ask(BlockRequestType.Flush));
    }

    [Fact]
    public void Errors_of_writes_zeroes_and_discards_of_a_server_are_those_of_its_requests()
    {
        const int Count = 100;
        using ServerProcess server = ServerProcess.Nbdkit("--filter=error", "memory", "1M", "error=ENOSPC", "error-pwrite-rate=20%",
            "error-zero-rate=20%", "error-trim-rate=20%");
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        DriverRequest[] writes = Each(i => guest.Queue(0).Write((ulong)i * 8, BlockGuest.Pattern(4096, i + 1)));
        DriverRequest[] reads = Each(i => guest.Queue(0).Read((ulong)i * 8, 8));
        // What failed is said so, and what did not is there.
        for (int i = 0; i < Count; i++)
            if (writes[i].Status() == BlockStatus.Ok) Assert.Equal(BlockGuest.Pattern(4096, i + 1), reads[i].Data());
        DriverRequest[] zeroes = Each(i => guest.Queue(0).Segment(BlockRequestType.WriteZeroes, (ulong)i * 8, 8));
        DriverRequest[] after = Each(i => guest.Queue(0).Read((ulong)i * 8, 8));
        for (int i = 0; i < Count; i++)
            Assert.Equal(zeroes[i].Status() == BlockStatus.Ok ? new byte[4096] : reads[i].Data(), after[i].Data());
        DriverRequest[] discards = Each(i => guest.Queue(0).Segment(BlockRequestType.Discard, (ulong)i * 8, 8));
        Assert.All((DriverRequest[][])[writes, zeroes, discards], requests =>
            Assert.InRange(requests.Count(request => request.Status() == BlockStatus.IoError), 1, 60));
        // A write that failed was said to have: the flush has nothing to add.
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));

        DriverRequest[] Each(Func<int, DriverRequest> ask)
        {
            DriverRequest[] requests = [.. Enumerable.Range(0, Count).Select(ask)];
            guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
            return requests;
        }
    }

    [Fact]
    public void A_flush_that_a_server_fails_fails_from_then_on()
    {
        using ScratchImage once = new(0);
        File.Delete(once.Path);
        // The first one fails, and the next would not.
        using ServerProcess server = ServerProcess.Nbdkit("eval", "get_size=echo 1M", "can_write=exit 0", "can_flush=exit 0",
            "pread=dd if=/dev/zero iflag=count_bytes count=$3 status=none", "pwrite=cat >/dev/null",
            $"flush=test -e {once.Path} || {{ touch {once.Path}; echo EIO >&2; exit 1; }}");
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        for (int i = 0; i < 3; i++)
        {
            DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
            guest.Kick(0).RunUntil(() => flush.IsUsed);
            Assert.Equal(BlockStatus.IoError, flush.Status());
        }
        Assert.True(File.Exists(once.Path), "the server was not asked");
        Ok(guest, guest.Queue(0).Read(0));
    }

    [Theory]
    [InlineData("memory")]
    [InlineData("memory --no-sr")]
    public void Requests_allocate_nothing_on_the_reactors_thread(string kind)
    {
        string[] more = kind.Contains("no-sr", StringComparison.Ordinal) ? ["--no-sr"] : [];
        using ServerProcess server = ServerProcess.Nbdkit([.. more, "memory", "1M"]);
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, Long);
        SteadyDisk.AllocatesNothing(guest, requests: 20_000);
    }

    private static void Ok(SimulatedGuest guest, params DriverRequest[] requests)
    {
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.All(requests, request => Assert.Equal(BlockStatus.Ok, request.Status()));
    }
}
