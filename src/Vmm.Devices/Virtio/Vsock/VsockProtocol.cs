using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>The numbers of the socket device's protocol (virtio 1.2 § 5.10).</summary>
internal static class VsockProtocol
{
    internal const ulong FeatureStream = 1UL << 0;
    internal const ulong FeatureSeqPacket = 1UL << 1;

    internal const int ReceiveQueue = 0;
    internal const int TransmitQueue = 1;
    internal const int EventQueue = 2;

    // struct virtio_vsock_config: the guest's context id.
    internal const int ConfigLength = 8;

    /// <summary>The host, as a guest addresses it.</summary>
    internal const ulong HostCid = 2;

    // enum virtio_vsock_event_id.
    internal const uint EventTransportReset = 0;

    // Flags of SHUTDOWN.
    internal const uint ReceivesNoMore = 1;
    internal const uint SendsNoMore = 2;
    internal const uint BothWays = ReceivesNoMore | SendsNoMore;

    /// <summary>Flag of a SEQPACKET socket's RW: the message ends here.</summary>
    internal const uint EndOfMessage = 1;
}

/// <summary>Kinds of sockets (virtio 1.2 § 5.10.6).</summary>
internal enum VsockType : ushort
{
    Stream = 1,
    SeqPacket = 2,
}

/// <summary>What a packet says (virtio 1.2 § 5.10.6).</summary>
internal enum VsockOperation : ushort
{
    Invalid = 0,
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// <summary>struct virtio_vsock_hdr: in front of every packet.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct VsockHeader
{
    internal const uint Bytes = 44;

    internal ulong SourceCid;
    internal ulong DestinationCid;
    internal uint SourcePort;
    internal uint DestinationPort;
    internal uint Length;
    internal VsockType Type;
    internal VsockOperation Operation;
    internal uint Flags;
    /// <summary>Bytes of buffer the sender has for the connection.</summary>
    internal uint BufferBytes;
    /// <summary>Bytes the sender has passed on so far, modulo 2^32.</summary>
    internal uint ForwardedBytes;
}
