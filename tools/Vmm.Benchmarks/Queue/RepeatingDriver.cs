using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Benchmarks;

/// <summary>
/// Makes the same chains available over and over, at the price of one store (split) or one a chain (packed): what is left to measure is the
/// device's side.
/// </summary>
internal sealed unsafe class RepeatingDriver : IDisposable
{
    /// <summary>Chains made available at once. The ring holds just so many.</summary>
    internal const int Batch = 16;

    private const uint BufferLength = 64;
    private const ulong Buffers = 8 << 20;
    private const ushort FlagNext = 1, FlagWrite = 2;
    private readonly int _length;
    private readonly ulong* _descriptors;
    private bool _wrap = true;

    internal RepeatingDriver(bool packed, int length)
    {
        _length = length;
        Memory = GuestMemory.Create(16 << 20);
        Queue = DriverQueue.Create(Memory, new GuestAllocator(4096, Buffers - 4096), (ushort)(Batch * length), packed
            ? VirtioFeatures.PackedRing : 0);
        for (int i = 0; i < Batch * length; i++)
        {
            int place = i % length;
            ushort flags = (ushort)((place < length / 2 ? 0 : FlagWrite) | (place < length - 1 ? FlagNext : 0));
            ulong address = Buffers + (ulong)i * 4096;
            if (Queue is PackedDriverQueue ring) ring.WriteDescriptor(i, address, BufferLength, (ushort)(i / length), flags);
            else ((SplitDriverQueue)Queue).WriteDescriptor(i, address, BufferLength, flags, (ushort)(i + 1));
        }
        // SAFETY: the ring lies in memory that is held until Dispose; two words are a descriptor.
        _descriptors = (ulong*)(Memory.Regions[0].HostAddress + (nint)Queue.DescriptorTable);
        if (Queue is not SplitDriverQueue split) return;
        for (int i = 0; i < split.Size; i++) split.WriteAvailable(i, (ushort)(i % Batch * length));
    }

    internal GuestMemory Memory { get; }

    internal DriverQueue Queue { get; }

    internal void Rearm()
    {
        if (Queue is SplitDriverQueue split)
        {
            split.AvailableIndex += Batch;
            return;
        }
        ulong flags = (_wrap ? 1UL << 7 : 1UL << 15) | (_length > 1 ? FlagNext : FlagWrite);
        for (ulong i = 0; i < Batch; i++)
        {
            // SAFETY: the second word of the first descriptor of a chain: length, buffer id, flags.
            Volatile.Write(ref _descriptors[(2 * i * (ulong)_length) + 1], BufferLength | i << 32 | flags << 48);
        }
        _wrap = !_wrap;
    }

    public void Dispose()
    {
        Queue.Dispose();
        Memory.Dispose();
    }
}
