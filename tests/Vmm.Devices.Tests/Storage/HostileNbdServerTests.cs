using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;

namespace Vmm.Devices.Tests;

/// <summary>A server that lies costs its own disk only, and is named in a sentence.</summary>
[Collection(Alone.Name)]
public sealed class HostileNbdServerTests
{
    private const int Bytes = 1 << 20;

    /// <summary>What a server may say to a request, and what is said of it.</summary>
    private static readonly Dictionary<string, (NbdReplies Replies, Action<NbdTestServer.Request, Stream> Lie)> Lies = new()
    {
        ["sends something that is no reply"] = (NbdReplies.Simple, (_, stream) => NbdTestServer.Put32(stream, 0xdeadbeef)),
        ["sends something that is no reply (a chunk, simple replies agreed)"] =
            (NbdReplies.Simple, (request, stream) => NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 0, request, 0)),
        ["sends something that is no reply (a simple one, extended ones agreed)"] =
            (NbdReplies.Extended, (request, stream) => NbdTestServer.Simple(stream, request.Cookie, 0)),
        ["answers a request that was not made"] = (NbdReplies.Simple, (request, stream) =>
            NbdTestServer.Simple(stream, request.Cookie + 1, 0)),
        ["answers a request that was not made (an earlier one)"] =
            (NbdReplies.Simple, (request, stream) => NbdTestServer.Simple(stream, request.Cookie - (1UL << 32), 0)),
        ["answers a request that was not made (of a cookie of "
            + "ones)"] = (NbdReplies.Simple, (_, stream) => NbdTestServer.Simple(stream, ulong.MaxValue, 0)),
        ["answers a read by a simple reply"] = (NbdReplies.Structured, (request, stream) =>
            NbdTestServer.Simple(stream, request.Cookie, 0)),
        ["answers a read of 4096 bytes by 0"] =
            (NbdReplies.Structured, (request, stream) => NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 0, request, 0)),
        ["answers a read of 4096 bytes by 512"] = (NbdReplies.Structured, (request, stream) => Data(stream, request, 0, 512, done: true)),
        ["sends more than the 4096 bytes that were asked for"] = (NbdReplies.Structured, (request, stream) =>
        {
            Data(stream, request, 0, 4096, done: false);
            Data(stream, request, 0, 512, done: true);
        }
        ),
        ["sends data that was not asked for (behind)"] = (NbdReplies.Structured, (request, stream) =>
            Data(stream, request, 4096, 1, done: true)),
        ["sends data that was not asked for (before)"] = (NbdReplies.Structured, (request, stream) =>
            Data(stream, request, -1, 1, done: true)),
        ["sends data that was not asked for (too long)"] = (NbdReplies.Structured, (request, stream) =>
            Data(stream, request, 4095, 2, done: true)),
        ["sends 8 bytes of data to a Read"] = (NbdReplies.Structured, (request, stream) =>
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 1, request, 8)),
        ["sends data that was not asked for (4 GiB)"] = (NbdReplies.Structured, (request, stream) =>
        {
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 1, request, uint.MaxValue);
            NbdTestServer.Put(stream, request.Offset);
        }
        ),
        ["sends data that was not asked for (16 EiB)"] = (NbdReplies.Extended, (request, stream) =>
        {
            NbdTestServer.Chunk(stream, NbdReplies.Extended, 1, 1, request, ulong.MaxValue);
            NbdTestServer.Put(stream, request.Offset);
        }
        ),
        ["sends a hole in 8 bytes"] = (NbdReplies.Structured, (request, stream) =>
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 2, request, 8)),
        ["sends a hole of no bytes"] = (NbdReplies.Structured, (request, stream) => Hole(stream, request, 0)),
        ["sends data that was not asked for (a hole)"] = (NbdReplies.Structured, (request, stream) => Hole(stream, request, 8192)),
        ["sends a chunk without content that is not the last"] =
            (NbdReplies.Structured, (request, stream) => NbdTestServer.Chunk(stream, NbdReplies.Structured, 0, 0, request, 0)),
        ["sends a chunk of the unknown type 77"] = (NbdReplies.Structured, (request, stream) =>
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 77, request, 0)),
        ["sends an error of 2 bytes"] = (NbdReplies.Structured, (request, stream) =>
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 0x8001, request, 2)),
        ["sends an error of 1048576 bytes"] =
            (NbdReplies.Structured, (request, stream) => NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 0x8001, request, 1 << 20)),
        ["sends an error without a number"] = (NbdReplies.Structured, (request, stream) =>
        {
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 0x8001, request, 6);
            NbdTestServer.Put32(stream, 0);
            NbdTestServer.Put16(stream, 0);
        }
        ),
        ["is shutting down"] = (NbdReplies.Simple, (request, stream) => NbdTestServer.Simple(stream, request.Cookie, 108)),
        ["closed the connection"] = (NbdReplies.Structured, (request, stream) =>
        {
            NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 1, request, 4096 + 8);
            NbdTestServer.Put(stream, request.Offset);
            stream.Write(new byte[100]);
            stream.Flush();
            NbdServerGoneTests.Throw(stream);
        }
        ),
    };

    public static TheoryData<string> Sentences => new(Lies.Keys);

    [Theory, MemberData(nameof(Sentences))]
    public void A_lie_is_an_error_of_this_disk_and_a_sentence(string sentence)
    {
        (NbdReplies replies, Action<NbdTestServer.Request, Stream> lie) = Lies[sentence];
        using NbdTestServer server = new(Bytes) { Replies = replies };
        server.Lie = (request, stream) =>
        {
            if (request.Command != NbdCommand.Read || request.Offset != 4096) return false;
            lie(request, stream);
            return true;
        };
        RecordingLogger log = new();
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.FromMilliseconds(200), log);
        using NbdTestServer honest = new(Bytes);
        RecordingLogger otherLog = new();
        using SimulatedGuest other = SimulatedGuest.For(
            new BlockDevice("vdb", NbdDisk.Open(honest.Uri, readOnly: false, TimeSpan.Zero)) { Logger = otherLog },
            new SimulatedGuestOptions { Beside = guest });
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Read(0, 8));
        DriverRequest read = guest.Queue(0).Read(8, 8);
        guest.Kick(0);
        // A disk of the same reactor, without patience, whose requests go on all the while.
        while (!read.IsUsed)
        {
            DriverRequest beside = other.Queue(0).Read(8, 8);
            NbdServerGoneTests.Ok(other, beside);
            other.Queue(0).Free(beside);
            guest.RunUntilIdle();
        }
        Assert.Equal(BlockStatus.IoError, read.Status());
        string said = sentence.Split(" (")[0];
        Assert.Single(log.Lines, line => line.Contains(said, StringComparison.Ordinal));
        Assert.Empty(otherLog.Lines);
        Assert.Equal(1, honest.Connections);
        // Another place of the same disk works.
        NbdServerGoneTests.Ok(guest, Until(guest, () => guest.Queue(0).Read(64, 8)));
    }

    [Fact]
    public void An_answer_that_comes_before_its_request_is_one_to_no_request()
    {
        using NbdTestServer server = new(Bytes);
        // The first reply is to the cookie that the second request will have.
        server.Lie = (request, stream) =>
        {
            if (request.Offset != 4096) return false;
            NbdTestServer.Chunk(stream, NbdReplies.Extended, 1, 0, request with { Cookie = request.Cookie + 1 }, 0);
            return true;
        };
        RecordingLogger log = new();
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.FromMilliseconds(200), log);
        DriverRequest read = guest.Queue(0).Read(8, 8);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.IoError, read.Status());
        Assert.Contains(log.Lines, line => line.Contains("answers a request that was not made", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(5u)]
    [InlineData(12u)]
    [InlineData(22u)]
    [InlineData(28u)]
    [InlineData(75u)]
    [InlineData(0xffffffffu)]
    public void An_error_is_an_error_of_its_request_alone(uint error)
    {
        using NbdTestServer server = new(Bytes) { Error = request => request.Offset == 4096 ? error : 0 };
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.FromSeconds(30));
        DriverRequest bad = guest.Queue(0).Read(8, 8), good = guest.Queue(0).Read(0, 8), write = guest.Queue(0).Write(8, new byte[512]);
        guest.Kick(0).RunUntil(() => bad.IsUsed && good.IsUsed && write.IsUsed);
        Assert.Equal((BlockStatus.IoError, BlockStatus.Ok, BlockStatus.IoError), (bad.Status(), good.Status(), write.Status()));
        Assert.Equal(1, server.Connections);
    }

    [Fact]
    public void Zeroes_that_a_server_cannot_make_are_written_and_a_discard_that_it_cannot_do_is_none()
    {
        using NbdTestServer server = new(Bytes)
        {
            Error = request => request.Command is NbdCommand.Trim or NbdCommand.WriteZeroes
            ? 95u : 0
        };
        server.Content.AsSpan().Fill(7);
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.FromSeconds(30));
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 8, 8));
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Segment(BlockRequestType.Discard, 64, 8));
        Assert.Equal(8 * 512, server.Content.Count(each => each == 0));
    }

    [Theory]
    [InlineData("does not greet as one", "nonsense, and more of it than a greeting has")]
    [InlineData("hangs up in its handshake", "")]
    [InlineData("hangs up in its handshake", "NBDMAGICIHAVE")]
    public void A_greeting_that_is_none_is_refused_in_a_sentence(string sentence, string greeting)
    {
        using NbdTestServer server = new(Bytes) { Greeting = stream => stream.Write(System.Text.Encoding.ASCII.GetBytes(greeting)) };
        Refused(server, sentence);
    }

    [Fact]
    public void A_server_of_the_old_style_is_named_as_one()
    {
        using NbdTestServer server = new(Bytes)
        {
            Greeting = stream =>
            {
                NbdTestServer.Put(stream, NbdProtocol.InitMagic, 0x00420281861253, 1 << 20);
                stream.Write(new byte[128]);
            },
        };
        Refused(server, "speaks the protocol of before 2011");
    }

    [Fact]
    public void Options_that_never_end_end()
    {
        using NbdTestServer server = new(Bytes)
        {
            Greeting = stream =>
            {
                Greet(stream);
                NbdTestServer.Reply(stream, NbdProtocol.OptionExtendedHeaders, NbdProtocol.ErrorUnsupported, []);
                NbdTestServer.Reply(stream, NbdProtocol.OptionStructuredReply, NbdProtocol.ErrorUnsupported, []);
                for (int i = 0; i < 1000; i++) NbdTestServer.Reply(stream, NbdProtocol.OptionGo, NbdProtocol.ReplyInfo, new byte[2]);
            },
        };
        Refused(server, "answers a request for an export in ", "describes an export in 2 bytes");
    }

    [Theory]
    [InlineData(0u, 4096u, 1u << 20, "has blocks of 0 bytes")]
    [InlineData(3u, 4096u, 1u << 20, "has blocks of 3 bytes")]
    [InlineData(1u << 20, 1u << 20, 1u << 25, "has blocks of 1048576 bytes")]
    [InlineData(4096u, 4096u, 512u, "takes at most 512 bytes at once")]
    public void Blocks_that_no_disk_has_are_refused(uint min, uint preferred, uint max, string sentence)
    {
        using NbdTestServer server = new(Bytes) { Blocks = (min, preferred, max) };
        Refused(server, sentence);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(511)]
    public void An_export_without_a_sector_is_refused(int bytes)
    {
        using NbdTestServer server = new(bytes);
        Refused(server, $"the export has {bytes} bytes: less than a block of 512");
    }

    [Theory]
    [InlineData(1UL << 63)]
    [InlineData(ulong.MaxValue)]
    public void An_export_that_no_server_can_have_is_refused(ulong bytes)
    {
        using NbdTestServer server = new(Bytes) { Claimed = bytes };
        Refused(server, $"the export says it has {bytes} bytes: no server has a disk that large");
    }

    [Fact]
    public void An_export_of_eight_exbibytes_is_a_disk_and_what_is_not_there_is_an_error()
    {
        using NbdTestServer server = new(Bytes) { Claimed = long.MaxValue };
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.Zero);
        const ulong Sectors = long.MaxValue / 512;
        Assert.Equal(Sectors, guest.Driver.ReadConfig<ulong>(0));
        DriverRequest last = guest.Queue(0).Read(Sectors - 1), beyond = guest.Queue(0).Read(Sectors);
        guest.Kick(0).RunUntil(() => last.IsUsed && beyond.IsUsed);
        Assert.Equal((BlockStatus.IoError, BlockStatus.IoError), (last.Status(), beyond.Status()));
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Read(0));
        Assert.Equal(1, server.Connections);
    }

    [Fact]
    public void An_answer_to_an_option_of_four_gibibytes_is_not_read()
    {
        using NbdTestServer server = new(Bytes)
        {
            Greeting = stream =>
            {
                Greet(stream);
                NbdTestServer.Put(stream, NbdProtocol.OptionReplyMagic);
                NbdTestServer.Put32(stream, NbdProtocol.OptionExtendedHeaders, NbdProtocol.ReplyAck, uint.MaxValue);
                stream.Flush();
                stream.CopyTo(Stream.Null);
            },
        };
        Refused(server, $"answers an option by {uint.MaxValue} bytes");
    }

    [Fact]
    public void A_read_only_export_is_attached_read_only_or_not_at_all()
    {
        using NbdTestServer server = new(Bytes) { Flags = NbdFlags.HasFlags | NbdFlags.ReadOnly };
        Refused(server, "attach it read-only ('ro')");
        using NbdDisk disk = NbdDisk.Open(server.Uri, readOnly: true, TimeSpan.Zero);
        Assert.True(disk.IsReadOnly);
    }

    [Fact]
    public void What_is_not_there_is_named()
    {
        string nothing = ServerProcess.NewSocket();
        Assert.Contains("start the server, or correct the address", Refusal($"nbd+unix:///?socket={nothing}"), StringComparison.Ordinal);
        Assert.Contains("no server answers at 127.0.0.1:1", Refusal("nbd://127.0.0.1:1/x"), StringComparison.Ordinal);
        Assert.Contains("cannot be found", Refusal("nbd://no-such-host.invalid/x"), StringComparison.Ordinal);
        using ServerProcess server = ServerProcess.QemuNbd("/dev/null", "--export-name=here", "--read-only");
        Assert.Contains("the server has no export 'there'", Refusal($"nbd+unix:///there?socket={server.Socket}"), StringComparison.Ordinal);
    }

    private static void Greet(Stream stream)
    {
        NbdTestServer.Put(stream, NbdProtocol.InitMagic, NbdProtocol.OptionMagic);
        NbdTestServer.Put16(stream, NbdProtocol.FixedNewstyle | NbdProtocol.NoZeroes);
        stream.Flush();
    }

    private static void Refused(NbdTestServer server, params string[] oneOf)
    {
        string message = Refusal(server.Uri);
        Assert.True(oneOf.Any(sentence => message.Contains(sentence, StringComparison.Ordinal)), message);
    }

    private static string Refusal(string uri) =>
        Assert.Throws<DiskImageException>(() => NbdDisk.Open(uri, readOnly: false, TimeSpan.Zero).Dispose()).Message;

    /// <summary>Asks until it is answered without an error: a connection that was cut is made anew meanwhile.</summary>
    private static DriverRequest Until(SimulatedGuest guest, Func<DriverRequest> ask)
    {
        while (true)
        {
            DriverRequest request = ask();
            guest.Kick(0).RunUntil(() => request.IsUsed);
            if (request.Status() == BlockStatus.Ok) return ask();
        }
    }

    private static void Data(Stream stream, NbdTestServer.Request request, int offset, int length, bool done)
    {
        NbdTestServer.Chunk(stream, NbdReplies.Structured, done ? (ushort)1 : (ushort)0, 1, request, 8 + (ulong)length);
        NbdTestServer.Put(stream, request.Offset + (ulong)(long)offset);
        stream.Write(new byte[length]);
    }

    private static void Hole(Stream stream, NbdTestServer.Request request, uint length)
    {
        NbdTestServer.Chunk(stream, NbdReplies.Structured, 1, 2, request, 12);
        NbdTestServer.Put(stream, request.Offset);
        NbdTestServer.Put32(stream, length);
    }
}
