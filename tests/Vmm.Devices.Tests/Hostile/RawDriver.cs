using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Writes descriptors as no driver's own code would.</summary>
internal static class RawDriver
{
    internal const ushort Next = 1, Write = 2, Indirect = 4;

    /// <summary>Writes descriptors 0, 1 … into the ring as one chain and makes it available. In a packed ring from any place on, under the same id.</summary>
    internal static void PokeChain(DriverQueue ring, ReadOnlySpan<(ulong Address, uint Length, ushort Flags)> chain, int from = 0)
    {
        for (int i = chain.Length - 1; i >= 0; i--)
        {
            ushort next = i < chain.Length - 1 ? Next : (ushort)0;
            if (ring is PackedDriverQueue packed)
                packed.WriteDescriptor(from + i, chain[i].Address, chain[i].Length, 0, (ushort)(chain[i].Flags | next | packed.AvailableFlags));
            else
                ((SplitDriverQueue)ring).WriteDescriptor(i, chain[i].Address, chain[i].Length, (ushort)(chain[i].Flags | next), (ushort)(i + 1));
        }
        if (ring is SplitDriverQueue split) split.MakeAvailable(0);
    }

    /// <summary>As <see cref="PokeChain"/>, in an indirect table at a guest address.</summary>
    internal static void PokeIndirectChain(DriverQueue ring, ulong table, ReadOnlySpan<(ulong Address, uint Length, ushort Flags)> chain)
    {
        PokeTable(ring, table, chain);
        PokeChain(ring, [(table, (uint)chain.Length * 16, Indirect)]);
    }

    internal static void PokeTable(DriverQueue ring, ulong address, ReadOnlySpan<(ulong Address, uint Length, ushort Flags)> entries)
    {
        for (int i = 0; i < entries.Length; i++)
        {
            bool last = i == entries.Length - 1;
            uint flagsAndNext = ring is PackedDriverQueue
                ? (uint)entries[i].Flags << 16
                : (uint)(entries[i].Flags | (last ? 0 : Next)) | ((uint)(i + 1) << 16);
            Assert.True(ring.Memory.TryWrite(address + (ulong)i * 16, DescriptorBytes(entries[i].Address, entries[i].Length, flagsAndNext)));
        }
    }

    internal static byte[] DescriptorBytes(ulong address, uint length, uint tail) =>
        [.. BitConverter.GetBytes(address), .. BitConverter.GetBytes(length), .. BitConverter.GetBytes(tail)];
}
