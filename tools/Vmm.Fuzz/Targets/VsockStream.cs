using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>A stream as both its ends see it: what each has sent and got. The bytes show where they belong.</summary>
internal sealed class VsockStream(VsockHeader peer, UnixSocket host)
{
    private readonly byte[] _bytes = new byte[1 << 16];

    internal uint GuestPort { get; } = peer.DestinationPort;

    internal uint HostPort { get; } = peer.SourcePort;

    internal UnixSocket Host => host;

    internal long GuestSent { get; set; }

    internal long GuestGot { get; set; }

    internal long HostSent { get; private set; }

    internal long HostGot { get; private set; }

    /// <summary>What the guest last said of the bytes it passed on.</summary>
    internal long GuestReported { get; set; }

    internal bool GuestEnded { get; set; }

    /// <summary>Whether the guest knows that the host ended.</summary>
    internal bool GuestSawEnd { get; set; }

    internal bool HasHostEnded { get; private set; }

    private bool HostSawEnd { get; set; }

    /// <summary>What the device last said of its credit.</summary>
    internal VsockHeader Peer { get; set; } = peer;

    /// <summary>Bytes the guest may send.</summary>
    internal int Credit => (int)(Peer.BufferBytes - ((uint)GuestSent - Peer.ForwardedBytes));

    /// <summary>Whether everything that was sent has arrived, and the ends with it.</summary>
    internal bool IsDone => HostGot == GuestSent && GuestGot == HostSent && HostSawEnd == GuestEnded && GuestSawEnd == HasHostEnded;

    internal static byte ByteAt(long position, bool fromGuest) => (byte)(position * 7 + (position >> 8) + (fromGuest ? 1 : 101));

    internal static void Fill(Span<byte> bytes, long position, bool fromGuest)
    {
        for (int i = 0; i < bytes.Length; i++) bytes[i] = ByteAt(position + i, fromGuest);
    }

    internal static void Verify(ReadOnlySpan<byte> bytes, long position, bool fromGuest)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] != ByteAt(position + i, fromGuest))
                throw new BrokenPromiseException($"a wrong byte at {position + i} from the {(fromGuest ? "guest" : "host")}");
        }
    }

    internal void HostReads(int bytesMax)
    {
        while (bytesMax > 0 && !HostSawEnd)
        {
            Errno errno = host.Receive(_bytes.AsSpan(0, Math.Min(bytesMax, _bytes.Length)), out uint got);
            if (errno == Errno.Again) return;
            BrokenPromiseException.Unless(errno == Errno.None, $"the host can't read: {errno}");
            HostSawEnd = got == 0;
            BrokenPromiseException.Unless(!HostSawEnd || (GuestEnded && HostGot == GuestSent), $"an end that neither side made: {this}");
            Verify(_bytes.AsSpan(0, (int)got), HostGot, fromGuest: true);
            HostGot += got;
            bytesMax -= (int)got;
        }
    }

    internal void HostWrites(int bytes)
    {
        if (HasHostEnded) return;
        Fill(_bytes.AsSpan(0, bytes), HostSent, fromGuest: false);
        Errno errno = host.SendParts(_bytes.AsSpan(0, bytes), [], out uint sent);
        BrokenPromiseException.Unless(errno is Errno.None or Errno.Again, $"the host can't write: {errno}");
        HostSent += sent;
    }

    internal void HostEnds()
    {
        HasHostEnded = true;
        host.Shutdown(sending: true);
    }

    public override string ToString() =>
        $"{GuestPort}: guest sent {GuestSent}{(GuestEnded ? " and ended" : "")}, host got {HostGot}; "
        + $"host sent {HostSent}{(HasHostEnded ? " and ended" : "")}, guest got {GuestGot}";
}
