namespace Vmm.Devices.Tests;

/// <summary>A guest's program that writes as much as its credit allows.</summary>
internal sealed class VsockSender(VsockGuest guest, VsockPacket response, int bytes)
{
    private VsockHeader _peer = response.Header;

    /// <summary>What it writes.</summary>
    internal byte[] Content { get; } = BlockGuest.Pattern(bytes);

    internal int Sent { get; private set; }

    internal uint Credit => _peer.BufferBytes - ((uint)Sent - _peer.ForwardedBytes);

    /// <summary>Sends a packet, shorter if the credit or the content is.</summary>
    internal bool TrySend(int packetBytes)
    {
        int length = (int)Math.Min(Math.Min((uint)packetBytes, Credit), (uint)(Content.Length - Sent));
        if (length == 0) return false;
        byte[] payload = Content[Sent..(Sent + length)];
        Sent += length;
        guest.Send(VsockOperation.Data, _peer.DestinationPort, _peer.SourcePort, payload);
        return true;
    }

    /// <summary>Hears what the device says of its credit.</summary>
    internal void TakeCredit()
    {
        foreach (VsockPacket packet in guest.ReceiveAll())
        {
            if (packet.Header.DestinationPort == _peer.DestinationPort) _peer = packet.Header;
        }
    }
}
