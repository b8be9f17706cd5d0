using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The guest's TFTP (RFC 1350, RFC 2348), with a client that loses datagrams and repeats itself.</summary>
public sealed class TftpServerTests
{
    private const ushort WellKnown = 69;
    private static readonly NetEndPoint Client = new(0x0a000001, 4000);

    public static TheoryData<int, int> Files => new()
    {
        { 0, 512 }, { 1, 512 }, { 511, 512 }, { 512, 512 }, { 513, 512 }, { 100_000, 512 }, { 100_000, 1400 }, { 1468 * 3, 9000 }, { 40_000_000, 512 },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_is_fetched_whole(int length, int block)
    {
        byte[] file = BlockGuest.Pattern(length);
        TftpServer server = new(file, mtu: 1500);
        MemoryStream got = new();
        byte[]? answer = Ask(server, WellKnown, Request(1, block), out ushort port);
        if (answer![1] == 6) answer = Ask(server, port, [0, 4, 0, 0], out _);
        while (true)
        {
            Assert.Equal(3, answer![1]);
            got.Write(answer.AsSpan(4));
            byte[] acknowledge = [0, 4, answer[2], answer[3]];
            answer = Ask(server, port, acknowledge, out _);
            // Once more, as a client that thinks its acknowledgement was lost.
            if (got.Length % 5 == 0) Assert.Null(Ask(server, port, acknowledge, out _));
            if (answer is null) break;
        }
        Assert.Equal(file, got.ToArray());
        Assert.True(server.IsDone);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(file)), server.Sha256());
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_is_taken_whole(int length, int block)
    {
        byte[] file = BlockGuest.Pattern(length);
        TftpServer server = new(offered: null, mtu: 1500);
        byte[] answer = Ask(server, WellKnown, Request(2, block), out ushort port)!;
        int size = answer[1] == 6 ? int.Parse(Encoding.ASCII.GetString(answer).Split('\0')[^2]) : 512;
        Assert.Equal(block == 512 ? 512 : Math.Min(block, 1468), size);
        for (int at = 0, number = 1; at <= length; at += size, number++)
        {
            byte[] data = [0, 3, (byte)(number >> 8), (byte)number, .. file.AsSpan(at, Math.Min(size, length - at))];
            Assert.Equal([0, 4, (byte)(number >> 8), (byte)number], Ask(server, port, data, out _));
            if (number % 3 == 0) Assert.Equal([0, 4, (byte)(number >> 8), (byte)number], Ask(server, port, data, out _));
        }
        Assert.True(server.IsDone);
        Assert.Equal(length, server.Bytes);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(file)), server.Sha256());
    }

    [Fact]
    public void Strangers_and_nonsense_are_refused_and_the_transfer_goes_on()
    {
        byte[] file = BlockGuest.Pattern(2000);
        TftpServer server = new(file, mtu: 1500);
        byte[] first = Ask(server, WellKnown, Request(1, 512), out ushort port)!;
        Assert.Equal(first, Ask(server, WellKnown, Request(1, 512), out _));
        Assert.Equal(5, server.Answer(Client with { Port = 1 }, port, [0, 4, 0, 1], out _)![1]);
        Assert.Equal(5, Ask(server, port, [0, 3, 0, 1], out _)![1]);
        Assert.Null(Ask(server, port, [0, 4, 0, 9], out _));
        Assert.Null(Ask(server, port, [0, 5, 0, 0], out _));
        Assert.Null(Ask(server, 7, [0, 4, 0, 1], out _));
        Random random = new(3);
        for (int i = 0; i < 10_000; i++)
        {
            byte[] nonsense = new byte[random.Next(40)];
            random.NextBytes(nonsense);
            _ = server.Answer(Client with { Port = 1 }, random.Next(2) == 0 ? WellKnown : port, nonsense, out _);
        }
        Assert.Equal(file[512..1024], Ask(server, port, [0, 4, 0, 1], out _)![4..]);
    }

    private static byte[]? Ask(TftpServer server, ushort port, byte[] data, out ushort answerPort) => server.Answer(Client, port, data, out answerPort);

    private static byte[] Request(byte what, int block)
    {
        string options = block == 512 ? "" : $"tsize\0{0}\0blksize\0{block}\0";
        byte[] request = [0, what, .. Encoding.ASCII.GetBytes($"file\0octet\0{options}")];
        Assert.Equal(what, BinaryPrimitives.ReadUInt16BigEndian(request));
        return request;
    }
}
