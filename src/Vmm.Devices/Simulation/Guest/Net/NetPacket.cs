using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <summary>
/// What a guest puts on the wire and finds there: Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP echo (RFC 792), UDP (RFC 768).
/// </summary>
internal static class NetPacket
{
    internal const ushort TypeIp = 0x0800, TypeArp = 0x0806;
    internal const byte ProtocolIcmp = 1, ProtocolUdp = 17;
    internal const ushort ArpRequest = 1, ArpReply = 2;
    internal const byte IcmpEchoReply = 0, IcmpEcho = 8;

    internal const int EthernetLength = 14;
    internal const int ArpLength = 28;
    internal const int IpLength = 20;
    internal const int IcmpLength = 8;
    internal const int UdpLength = 8;

    private const ushort DoNotFragment = 0x4000;
    private const byte TimeToLive = 64;

    /// <summary>An ARP message in its frame.</summary>
    internal static byte[] Arp(ushort operation, MacAddress from, uint fromAddress, MacAddress to, uint toAddress)
    {
        byte[] frame = new byte[EthernetLength + ArpLength];
        Ethernet(frame, from, operation == ArpRequest ? MacAddress.Broadcast : to, TypeArp);
        Span<byte> arp = frame.AsSpan(EthernetLength);
        // Ethernet and IPv4, with addresses of 6 and 4 bytes.
        BinaryPrimitives.WriteUInt64BigEndian(arp, 0x0001_0800_0604_0000UL | operation);
        from.CopyTo(arp[8..]);
        BinaryPrimitives.WriteUInt32BigEndian(arp[14..], fromAddress);
        if (operation == ArpReply) to.CopyTo(arp[18..]);
        BinaryPrimitives.WriteUInt32BigEndian(arp[24..], toAddress);
        return frame;
    }

    /// <summary>An ICMP echo or its reply, as the payload of an IPv4 packet.</summary>
    internal static byte[] Echo(byte type, uint identifierAndSequence, ReadOnlySpan<byte> data)
    {
        byte[] echo = new byte[IcmpLength + data.Length];
        echo[0] = type;
        BinaryPrimitives.WriteUInt32BigEndian(echo.AsSpan(4), identifierAndSequence);
        data.CopyTo(echo.AsSpan(IcmpLength));
        BinaryPrimitives.WriteUInt16BigEndian(echo.AsSpan(2), Checksum(echo));
        return echo;
    }

    /// <summary>A UDP datagram, as the payload of an IPv4 packet.</summary>
    internal static byte[] Udp(uint from, ushort fromPort, uint to, ushort toPort, ReadOnlySpan<byte> data)
    {
        byte[] udp = new byte[UdpLength + data.Length];
        BinaryPrimitives.WriteUInt16BigEndian(udp, fromPort);
        BinaryPrimitives.WriteUInt16BigEndian(udp.AsSpan(2), toPort);
        BinaryPrimitives.WriteUInt16BigEndian(udp.AsSpan(4), (ushort)udp.Length);
        data.CopyTo(udp.AsSpan(UdpLength));
        ushort checksum = Checksum(udp, PseudoHeader(from, to, udp.Length));
        // 0 would mean that there is none.
        BinaryPrimitives.WriteUInt16BigEndian(udp.AsSpan(6), checksum == 0 ? ushort.MaxValue : checksum);
        return udp;
    }

    /// <summary>What the sum of a UDP datagram's checksum begins with.</summary>
    internal static uint PseudoHeader(uint from, uint to, int length) =>
        (from >> 16) + (ushort)from + (to >> 16) + (ushort)to + ProtocolUdp + (uint)length;

    /// <summary>An IPv4 packet in its frame.</summary>
    internal static byte[] Ip(byte protocol, MacAddress from, uint fromAddress, MacAddress to, uint toAddress, ReadOnlySpan<byte> payload)
    {
        byte[] frame = new byte[EthernetLength + IpLength + payload.Length];
        Ethernet(frame, from, to, TypeIp);
        Span<byte> ip = frame.AsSpan(EthernetLength, IpLength);
        ip[0] = 0x45; // Version 4, a header of 5 words.
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(IpLength + payload.Length));
        BinaryPrimitives.WriteUInt16BigEndian(ip[6..], DoNotFragment);
        ip[8] = TimeToLive;
        ip[9] = protocol;
        BinaryPrimitives.WriteUInt32BigEndian(ip[12..], fromAddress);
        BinaryPrimitives.WriteUInt32BigEndian(ip[16..], toAddress);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], Checksum(ip));
        payload.CopyTo(frame.AsSpan(EthernetLength + IpLength));
        return frame;
    }

    /// <summary>The Internet checksum (RFC 1071); 0 over bytes that contain their own.</summary>
    internal static ushort Checksum(ReadOnlySpan<byte> bytes, uint start = 0)
    {
        ulong sum = start;
        for (; bytes.Length >= 2; bytes = bytes[2..]) sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
        if (bytes.Length > 0) sum += (uint)bytes[0] << 8;
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)~sum;
    }

    private static void Ethernet(Span<byte> frame, MacAddress from, MacAddress to, ushort type)
    {
        to.CopyTo(frame);
        from.CopyTo(frame[MacAddress.Length..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[(2 * MacAddress.Length)..], type);
    }
}
