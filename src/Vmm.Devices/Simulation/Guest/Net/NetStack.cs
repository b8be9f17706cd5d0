using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The guest's Internet: one address, neighbours by ARP, ping in both directions, and at most one service on UDP. What arrives is
/// answered by frames to send; so it needs neither a device nor time.
/// </summary>
internal sealed class NetStack
{
    /// <summary>Most neighbours; a guest that knows so many forgets them all and asks again.</summary>
    private const int NeighboursMax = 256;

    private readonly Dictionary<uint, MacAddress> _neighbours = [];

    /// <summary>The card's address.</summary>
    internal MacAddress Mac { get; set; }

    /// <summary>The address; 0 before it was given.</summary>
    internal uint Address { get; private set; }

    /// <summary>Bits of the address that name the network.</summary>
    internal int PrefixLength { get; private set; }

    /// <summary>Echoes of others that were answered.</summary>
    internal long EchoesAnswered { get; private set; }

    /// <summary>Identifier and sequence number of the last echo of ours that was answered.</summary>
    internal uint LastEchoReply { get; private set; }

    /// <summary>What gets the datagrams to its ports; null if nothing does.</summary>
    internal INetService? Service { get; set; }

    /// <summary>Gives the guest its address.</summary>
    internal void SetAddress(uint address, int prefixLength)
    {
        (Address, PrefixLength) = (address, prefixLength);
        _neighbours.Clear();
    }

    /// <summary>Whether an address can be reached without a router.</summary>
    internal bool IsNear(uint address) => Address != 0 && (PrefixLength == 0 || (address ^ Address) >> (32 - PrefixLength) == 0);

    internal bool Knows(uint address) => _neighbours.ContainsKey(address);

    /// <summary>Asks who has an address.</summary>
    internal byte[] Ask(uint address) => NetPacket.Arp(NetPacket.ArpRequest, Mac, Address, default, address);

    /// <summary>A ping to a neighbour that is known.</summary>
    internal byte[] Ping(uint address, uint identifierAndSequence) => Ip(NetPacket.ProtocolIcmp, address,
        NetPacket.Echo(NetPacket.IcmpEcho, identifierAndSequence, "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghij"u8));

    /// <summary>Looks at a frame.</summary>
    /// <returns>The frame to answer with; null for none. What makes no sense is passed over.</returns>
    internal byte[]? Receive(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < NetPacket.EthernetLength || Address == 0) return null;
        MacAddress from = new(frame[MacAddress.Length..]);
        ReadOnlySpan<byte> payload = frame[NetPacket.EthernetLength..];
        return BinaryPrimitives.ReadUInt16BigEndian(frame[(2 * MacAddress.Length)..]) switch
        {
            NetPacket.TypeArp => ReceiveArp(payload),
            NetPacket.TypeIp => ReceiveIp(from, payload),
            _ => null,
        };
    }

    private byte[]? ReceiveArp(ReadOnlySpan<byte> arp)
    {
        if (arp.Length < NetPacket.ArpLength || BinaryPrimitives.ReadUInt32BigEndian(arp[24..]) != Address) return null;
        MacAddress from = new(arp[8..]);
        uint address = BinaryPrimitives.ReadUInt32BigEndian(arp[14..]);
        Learn(address, from);
        return BinaryPrimitives.ReadUInt16BigEndian(arp[6..]) == NetPacket.ArpRequest
            ? NetPacket.Arp(NetPacket.ArpReply, Mac, Address, from, address)
            : null;
    }

    private byte[]? ReceiveIp(MacAddress from, ReadOnlySpan<byte> ip)
    {
        if (ip.Length < NetPacket.IpLength || ip[0] != 0x45 || NetPacket.Checksum(ip[..NetPacket.IpLength]) != 0) return null;
        int length = BinaryPrimitives.ReadUInt16BigEndian(ip[2..]);
        // More fragments to come, or an offset: this guest takes whole packets.
        bool isFragment = (BinaryPrimitives.ReadUInt16BigEndian(ip[6..]) & 0x3fff) != 0;
        if (length < NetPacket.IpLength || length > ip.Length || isFragment || BinaryPrimitives.ReadUInt32BigEndian(ip[16..]) != Address)
            return null;
        uint address = BinaryPrimitives.ReadUInt32BigEndian(ip[12..]);
        if (IsNear(address)) Learn(address, from);
        ReadOnlySpan<byte> payload = ip[NetPacket.IpLength..length];
        return ip[9] switch
        {
            NetPacket.ProtocolIcmp => ReceiveIcmp(address, payload),
            NetPacket.ProtocolUdp => ReceiveUdp(address, payload),
            _ => null,
        };
    }

    private byte[]? ReceiveIcmp(uint from, ReadOnlySpan<byte> icmp)
    {
        if (icmp.Length < NetPacket.IcmpLength || NetPacket.Checksum(icmp) != 0) return null;
        uint which = BinaryPrimitives.ReadUInt32BigEndian(icmp[4..]);
        if (icmp[0] == NetPacket.IcmpEchoReply) LastEchoReply = which;
        if (icmp[0] != NetPacket.IcmpEcho || !Knows(from)) return null;
        EchoesAnswered++;
        return Ip(NetPacket.ProtocolIcmp, from, NetPacket.Echo(NetPacket.IcmpEchoReply, which, icmp[NetPacket.IcmpLength..]));
    }

    private byte[]? ReceiveUdp(uint from, ReadOnlySpan<byte> udp)
    {
        if (udp.Length < NetPacket.UdpLength || BinaryPrimitives.ReadUInt16BigEndian(udp[4..]) != udp.Length) return null;
        bool hasChecksum = BinaryPrimitives.ReadUInt16BigEndian(udp[6..]) != 0;
        if (hasChecksum && NetPacket.Checksum(udp, NetPacket.PseudoHeader(from, Address, udp.Length)) != 0) return null;
        NetEndPoint peer = new(from, BinaryPrimitives.ReadUInt16BigEndian(udp));
        ushort port = BinaryPrimitives.ReadUInt16BigEndian(udp[2..]);
        if (!Knows(from) || Service?.Answer(peer, port, udp[NetPacket.UdpLength..], out ushort answerPort) is not { } answer) return null;
        return Ip(NetPacket.ProtocolUdp, from, NetPacket.Udp(Address, answerPort, from, peer.Port, answer));
    }

    private byte[] Ip(byte protocol, uint to, ReadOnlySpan<byte> payload) =>
        NetPacket.Ip(protocol, Mac, Address, _neighbours[to], to, payload);

    private void Learn(uint address, MacAddress mac)
    {
        if (_neighbours.Count == NeighboursMax) _neighbours.Clear();
        _neighbours[address] = mac;
    }
}

/// <summary>Who sent a datagram.</summary>
internal readonly record struct NetEndPoint(uint Address, ushort Port);

/// <summary>Something of the guest that answers datagrams.</summary>
internal interface INetService
{
    /// <summary>Looks at a datagram.</summary>
    /// <param name="from">Who sent it.</param>
    /// <param name="port">To which port of ours.</param>
    /// <param name="data">What it says.</param>
    /// <param name="answerPort">From which port the answer comes.</param>
    /// <returns>What to answer; null for nothing.</returns>
    byte[]? Answer(NetEndPoint from, ushort port, ReadOnlySpan<byte> data, out ushort answerPort);
}
