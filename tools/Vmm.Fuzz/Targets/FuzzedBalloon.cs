using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// The balloon: pages in and out of memory, also of the rings themselves, reports, and statistics that the host asks for.
/// </summary>
internal sealed class FuzzedBalloon : FuzzedDevice
{
    private const int PageNumberBytes = sizeof(uint);
    private const int StatisticBytes = 10;

    private readonly CancellationTokenSource _end = new();
    private BalloonDevice? _device;

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
    [
        new(0, [0xff, 0, 0, 0], 0),
        new(1, [0xff, 0, 0, 0], 0),
        new(3, [], 64),
    ];

    internal override VirtioDevice Make() => _device = new BalloonDevice("balloon0");

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        bool pages = queue < 2;
        int count = pages ? input.Next(DeviceTarget.RequestBytesMax / PageNumberBytes) : input.Next(16);
        int width = pages ? PageNumberBytes : StatisticBytes;
        uint first = (uint)input.Interesting();
        for (int i = 0; i < count; i++)
        {
            uint value = input.OneIn(4) ? (uint)input.Interesting() : first + (uint)i;
            BinaryPrimitives.WriteUInt32LittleEndian(request[(i * width)..], value);
        }
        return count * width;
    }

    internal override void HostActs(FuzzInput input)
    {
        if (input.OneIn(2)) _device!.TargetBytes = (ulong)input.UInt32() * 4096;
        else _ = _device!.ReadStatisticsAsync(_end.Token);
    }

    internal override void HostEnds()
    {
        _end.Cancel();
        _end.Dispose();
    }
}
