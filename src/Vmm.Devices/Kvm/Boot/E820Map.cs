using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>What a range of the guest's addresses is (ACPI § 15, the same numbers in PVH and in the Linux zero page).</summary>
internal enum E820Kind : uint
{
    Memory = 1,
    Reserved = 2,
}

/// <summary>One range.</summary>
internal sealed record E820Entry(ulong Start, ulong Length, E820Kind Kind)
{
    /// <summary>Writes it as the zero page and PVH have it in common.</summary>
    internal void Write(Span<byte> entry)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(entry, Start);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], Length);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)Kind);
    }
}

/// <summary>The map of memory that the kernel is handed.</summary>
internal static class E820Map
{
    /// <summary>The map of a machine's memory, by address.</summary>
    internal static IReadOnlyList<E820Entry> Of(GuestMemory memory)
    {
        List<E820Entry> map =
        [
            new(0, BootLayout.LowMemoryEnd, E820Kind.Memory),
            new(BootLayout.LowMemoryEnd, BootLayout.HighMemory - BootLayout.LowMemoryEnd, E820Kind.Reserved),
        ];
        foreach (GuestRegion region in memory.Regions)
        {
            ulong start = Math.Max(region.GuestAddress, BootLayout.HighMemory);
            map.Add(new E820Entry(start, region.GuestAddress + region.Length - start, E820Kind.Memory));
        }
        return map;
    }
}
