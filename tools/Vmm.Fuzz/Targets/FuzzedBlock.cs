using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// A disk of two queues over a real image, which completes at once, later or not before it is asked to, and fails now and then.
/// </summary>
internal sealed class FuzzedBlock(BlockEngineKind engine) : FuzzedDevice
{
    private const int Sectors = 64;
    private const int HeaderBytes = 16;
    private const int SectorBytes = 512;

    private FuzzedImage? _image;

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
        [Request(0, type: 0, data: 0, writable: SectorBytes + 1), Request(1, type: 1, data: SectorBytes, writable: 1)];

    internal override VirtioDevice Make()
    {
        _image = new FuzzedImage(Sectors * SectorBytes, engine);
        return new BlockDevice("vda", _image, new DiskSpec { Queues = 2 });
    }

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        uint type = input.OneIn(8) ? (uint)input.Interesting() : input.Pick<uint>([0, 1, 0, 1, 4, 8, 11, 13]);
        BinaryPrimitives.WriteUInt32LittleEndian(request, type);
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(request[8..], Sector(input));
        if (type is not (11 or 13)) return type == 1 ? HeaderBytes + (input.Next(2) * SectorBytes) : HeaderBytes;
        int segments = input.Next(4);
        for (int i = 0; i < segments; i++)
        {
            Span<byte> segment = request[(HeaderBytes + i * HeaderBytes)..];
            BinaryPrimitives.WriteUInt64LittleEndian(segment, Sector(input));
            BinaryPrimitives.WriteUInt32LittleEndian(segment[8..], (uint)Sector(input));
            BinaryPrimitives.WriteUInt32LittleEndian(segment[12..], (uint)input.Next(4));
        }
        return HeaderBytes + segments * HeaderBytes;
    }

    internal override void HostActs(FuzzInput input) => _image!.Act(input);

    internal override void HostFinishes() => _image!.Finish();

    private static ulong Sector(FuzzInput input) => input.OneIn(4) ? input.Interesting() : (ulong)input.Next(Sectors + 2);

    private static BatteryRequest Request(int queue, byte type, int data, int writable) =>
        new(queue, [type, .. new byte[HeaderBytes - 1 + data]], writable)
        {
            Complaint = (content, used) => content[^1] == 0 && used == content.Length ? null : $"status {content[^1]}, {used} bytes used",
        };
}
