using System.Text.Json.Nodes;

namespace Vmm.Devices;

/// <summary>What a snapshot is a difference to, and which pages it has itself.</summary>
/// <param name="Name">The directory's name: it is beside the snapshot. A path would open what a stranger wrote.</param>
/// <param name="Id">The id that is to be found there.</param>
/// <param name="Pages">The pages that changed since, by their place in the memory's file. One that became zeros is a hole there.</param>
internal sealed record SnapshotBase(string Name, string Id, ulong[] Pages)
{
    private const string NameOfName = "base-name", NameOfId = "base-id", NameOfPages = "pages";
    private const int NameLengthMax = 255;

    internal void Write(StateWriter memory)
    {
        memory.Add(NameOfName, Name);
        memory.Add(NameOfId, Convert.FromHexString(Id));
        memory.Add(NameOfPages, MemoryMarshal.AsBytes(Pages.AsSpan()));
    }

    /// <summary>Takes it out of what was written.</summary>
    internal static void Remove(JsonObject memory)
    {
        foreach (string name in (string[])[NameOfName, NameOfId, NameOfPages]) memory.Remove(name);
    }

    /// <summary>Reads it.</summary>
    /// <returns>Null if the snapshot is whole.</returns>
    internal static SnapshotBase? Read(StateReader memory, IReadOnlyList<RegionLayout> regions)
    {
        if (!memory.Has(NameOfName)) return null;
        string name = memory.Text(NameOfName, NameLengthMax);
        if (name.Length == 0 || name is "." or ".." || name.AsSpan().IndexOfAny('/', '\0') >= 0)
            throw memory.Wrong(NameOfName, "is not the name of a directory");
        ulong bytes = 0;
        foreach (RegionLayout region in regions)
        {
            if (region.Length % DirtyPages.WordBytes != 0)
                throw memory.Wrong("regions", $"have a length of 0x{region.Length:x}, of which no difference is made");
            bytes += region.Length;
        }
        ulong[] pages = DirtyPages.None(bytes);
        Span<byte> room = MemoryMarshal.AsBytes(pages.AsSpan());
        byte[] written = memory.Bytes(NameOfPages, room.Length);
        if (written.Length != room.Length) throw memory.Wrong(NameOfPages, $"has {written.Length} bytes, not {room.Length}");
        written.CopyTo(room);
        return new SnapshotBase(name, Convert.ToHexStringLower(memory.Bytes(NameOfId, MachineSnapshot.IdBytes)), pages);
    }
}
