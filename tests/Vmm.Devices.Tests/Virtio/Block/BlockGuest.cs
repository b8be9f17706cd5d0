using System.Buffers.Binary;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The block requests a driver makes, for tests.</summary>
internal static class BlockGuest
{
    internal static DriverRequest Read(this SimulatedQueue queue, ulong sector, int sectors = 1) =>
        queue.Add([Header(BlockRequestType.In, sector)], [sectors * 512, 1]);

    internal static DriverRequest Write(this SimulatedQueue queue, ulong sector, byte[] data) =>
        queue.Add([Header(BlockRequestType.Out, sector), data], [1]);

    internal static DriverRequest Ask(this SimulatedQueue queue, BlockRequestType type) => queue.Add([Header(type, 0)], [1]);

    internal static DriverRequest Segment(this SimulatedQueue queue, BlockRequestType type, ulong sector, uint sectors, uint flags = 0)
    {
        byte[] segment = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(segment, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(segment.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(segment.AsSpan(12), flags);
        return queue.Add([Header(type, 0), segment], [1]);
    }

    internal static BlockStatus Status(this DriverRequest request)
    {
        Assert.True(request.IsUsed, "the device has not answered");
        return (BlockStatus)request.Content[^1];
    }

    internal static byte[] Data(this DriverRequest request) => request.Content[..^1];

    internal static byte[] Pattern(int length, int seed = 1)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static byte[] Header(BlockRequestType type, ulong sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }
}
