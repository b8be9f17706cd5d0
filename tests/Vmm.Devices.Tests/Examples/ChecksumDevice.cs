using System.Numerics;
using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Examples;

/// <summary>Answers each request with the CRC-32C of its readable bytes, and shows in its configuration how many it answered.</summary>
public sealed class ChecksumDevice : VirtioDevice
{
    private uint _answered;

    public ChecksumDevice() : base((VirtioDeviceType)63, "checksum", configLength: 4) => AddQueue("requests", sizeMax: 64, Serve);

    private void Serve(QueueContext context)
    {
        VirtQueue requests = context.Queue;
        while (requests.TryPop(out DescriptorChain? chain))
        {
            ChainWriter answer = chain.Writable;
            requests.Push(chain, written: answer.TryWrite(Checksum(chain.Readable)) ? 4u : 0u);
            _answered++;
            Config.Update(0, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in _answered)));
        }
    }

    // A pure function over the chain: the driver may cut its bytes into buffers as it likes.
    private static uint Checksum(ChainReader bytes)
    {
        uint crc = uint.MaxValue;
        while (bytes.TryNext(out ReadOnlySpan<byte> piece))
            foreach (byte b in piece) crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }
}

public sealed class ChecksumDeviceTests
{
    [Fact]
    public void A_request_cut_into_two_buffers_has_one_checksum()
    {
        using var guest = SimulatedGuest.For(new ChecksumDevice());
        DriverRequest request = guest.Queue(0).Add(readable: ["1234"u8.ToArray(), "56789"u8.ToArray()], writable: [4]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(0xE3069283, BitConverter.ToUInt32(request.Written));
        Assert.Equal(1, guest.Interrupts);
    }

    public static TheoryData<string, ulong> Ordeals => new(DeviceBattery.Cases);

    [Theory, MemberData(nameof(Ordeals))]
    public void It_survives_every_ordeal_on_every_ring(string check, ulong ring) =>
        new DeviceBattery(() => new ChecksumDevice(), new BatteryRequest(0, "123456789"u8.ToArray(), 4)
        {
            Complaint = (answer, used) => used == 4 && BitConverter.ToUInt32(answer) == 0xE3069283 ? null : $"{used} bytes, {Convert.ToHexString(answer)}",
        }).Run(check, ring);
}
