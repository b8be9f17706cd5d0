using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Buffers;

namespace Vmm.Devices;

/// <summary>What O_DIRECT asks for on one file (open(2)): only a try shows it on every kernel.</summary>
/// <param name="Memory">Bytes; a power of two that addresses are multiples of.</param>
/// <param name="Block">Bytes; a power of two that offsets and lengths are multiples of.</param>
internal sealed record DirectAlignment(uint Memory, uint Block)
{
    private const int BlockBytesMax = 4096;

    /// <summary>Tries reads at the start of a file that was opened with O_DIRECT.</summary>
    /// <returns>Null if none works: the file system takes the flag, and then can't do it.</returns>
    internal static DirectAlignment? Probe(int fd)
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(2 * BlockBytesMax);
        try
        {
            Span<byte> memory = buffer.Room;
            for (int block = BlockProtocol.SectorSize; block <= BlockBytesMax; block *= 2)
            {
                if (!IsReadable(fd, memory[..block])) continue;
                int address = BlockProtocol.SectorSize;
                while (address < BlockBytesMax && !IsReadable(fd, memory.Slice(address, block))) address *= 2;
                return new DirectAlignment((uint)address, (uint)block);
            }
            return null;
        }
        finally
        {
            buffer.Release();
        }
    }

    /// <summary>Whether the file takes the next piece of an operation as it is.</summary>
    internal bool Fits(BlockOperation operation)
    {
        if (!FitsBlocks(operation)) return false;
        foreach (IoVector vector in operation.Vectors)
        {
            if (((ulong)vector.Address & (Memory - 1)) != 0 || (vector.Length & (Block - 1)) != 0) return false;
        }
        return true;
    }

    /// <summary>Whether whole blocks are asked for, wherever they are in memory.</summary>
    internal bool FitsBlocks(BlockOperation operation) => ((operation.Offset | operation.Remaining) & (Block - 1)) == 0;

    private static bool IsReadable(int fd, Span<byte> memory)
    {
        IoVector whole = IoVector.Over(memory);
        return FileCalls.Read(fd, new ReadOnlySpan<IoVector>(in whole), 0, 0, out Errno error) >= 0 || error != Errno.Invalid;
    }
}
