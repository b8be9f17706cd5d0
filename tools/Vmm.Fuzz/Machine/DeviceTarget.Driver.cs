using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

// What the driver does.
internal sealed partial class DeviceTarget
{
    private const int SegmentsMax = 4;

    private static readonly ulong[] Addresses =
    [
        0, FuzzMachine.RingStart, FuzzMachine.BufferStart, FuzzMachine.BufferStart
            + 4095, FuzzMachine.MemoryBytes - 8, FuzzMachine.MemoryBytes,
        FuzzMachine.ExtraStart, FuzzMachine.ExtraStart + 4090, 0xfee0_0000, ulong.MaxValue - 7, ulong.MaxValue,
    ];

    private static readonly uint[] Lengths =
        [0, 1, 4, 8, 16, 17, 511, 512, 513, 4096, 1 << 16, 1 << 20, int.MaxValue, 1u << 31, uint.MaxValue];

    private static readonly uint[] Registers =
    [
        MmioRegister.DeviceFeaturesSel, MmioRegister.DriverFeatures, MmioRegister.DriverFeaturesSel, MmioRegister.QueueSel,
        MmioRegister.QueueSize,
        MmioRegister.QueueReady, MmioRegister.QueueNotify, MmioRegister.InterruptAck, MmioRegister.Status, MmioRegister.QueueDescLow,
        MmioRegister.QueueDescHigh, MmioRegister.QueueDriverLow, MmioRegister.QueueDriverHigh, MmioRegister.QueueDeviceLow,
        MmioRegister.QueueDeviceHigh, MmioRegister.ShmSel, MmioRegister.QueueReset,
    ];

    /// <summary>Any offset in any width, with any value.</summary>
    private void AccessAnyRegister(FuzzInput input)
    {
        ulong offset = input.OneIn(16) ? input.Interesting() : input.UInt16() % (VirtioMmioTransport.Length + 16);
        Access(input, offset, input.Pick<int>([1, 2, 3, 4, 8]));
    }

    /// <summary>A register that exists, with a value that may mean something to it.</summary>
    private void WriteRegister(FuzzInput input)
    {
        uint register = input.Pick<uint>(Registers);
        uint value = input.Next(4) switch
        {
            0 => (uint)input.Interesting(),
            1 => (uint)input.Pick<ulong>(Addresses),
            _ => (uint)input.Next(register == MmioRegister.Status ? 256 : 4),
        };
        // A status of 0 is a reset, which has an action of its own.
        if (register == MmioRegister.Status && value == 0) value = 1;
        _machine.Registers.Write(register, value);
        _ = _machine.Registers.Read(register);
        CheckStatus();
    }

    /// <summary>Each bit of the status follows those before it, whatever was written (virtio 1.2 § 3.1.1).</summary>
    private void CheckStatus()
    {
        DeviceStatus status = _machine.Registers.Status, needed = DeviceStatus.None;
        foreach (DeviceStatus bit in (ReadOnlySpan<DeviceStatus>)[DeviceStatus.Acknowledge,
            DeviceStatus.Driver, DeviceStatus.FeaturesOk, DeviceStatus.DriverOk])
        {
            if (status.HasFlag(bit)) BrokenPromiseException.Unless(status.HasFlag(needed), $"status {status}");
            needed |= bit;
        }
    }

    private void AccessConfig(FuzzInput input) =>
        Access(input, MmioRegister.Config + (ulong)input.Next(_device.Config.Length + 9), input.Pick<int>([1, 2, 3, 4, 8]));

    private void Access(FuzzInput input, ulong offset, int width)
    {
        Span<byte> data = stackalloc byte[width];
        if (input.OneIn(2))
        {
            _machine.Transport.Read(offset, data);
            return;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(data.Length >= 4 ? data : new byte[4], (uint)input.Interesting());
        if (width < 4) input.Fill(data);
        _machine.Transport.Write(offset, data);
    }

    private void ResetQueue(FuzzInput input)
    {
        int queue = input.Next(_machine.Rings.Length);
        _machine.Registers.ResetQueue(queue);
        _machine.Turn(input.Next(TurnsMax));
        if (_machine.Rings[queue] is { } ring && !input.OneIn(4)) _machine.Registers.SetUpQueue(queue, ring.Configuration(queue));
    }

    /// <summary>Noise over rings, tables and buffers.</summary>
    private void Scribble(FuzzInput input)
    {
        Span<byte> noise = stackalloc byte[1 + input.Next(8)];
        input.Fill(noise);
        ulong at = _machine.Rings[input.Next(_machine.Rings.Length)] is { } ring && !input.OneIn(4)
            ? input.Next(3) switch { 0 => ring.DescriptorTable, 1 => ring.DriverRing, _ => ring.DeviceRing }
            : FuzzMachine.BufferStart;
        _machine.Memory.TryWrite(at + input.Byte(), noise);
    }

    /// <summary>Descriptors of any content, made available.</summary>
    private void WriteRing(FuzzInput input)
    {
        int queue = input.Next(_machine.Rings.Length);
        if (_machine.Rings[queue] is not { } ring) return;
        for (int i = input.Next(SegmentsMax); i >= 0; i--)
        {
            GuestBuffer buffer = Buffer(input);
            ushort flags = (ushort)input.Next(8), next = (ushort)input.Next(ring.Size + 1);
            if (ring is PackedDriverQueue packed)
                packed.WriteDescriptor(input.Next(ring.Size), buffer.Address, buffer.Length, next,
                    (ushort)(flags | (input.OneIn(4) ? 0x8000 : 0x80)));
            else
                ((SplitDriverQueue)ring).WriteDescriptor(input.Next(ring.Size), buffer.Address, buffer.Length, flags, next);
        }
        if (ring is SplitDriverQueue split)
        {
            if (input.OneIn(16)) split.AvailableIndex = input.UInt16();
            else split.MakeAvailable((ushort)input.Next(ring.Size + 1));
        }
        _machine.Registers.Kick(queue);
    }

    private static GuestBuffer Buffer(FuzzInput input) => new(
        input.OneIn(3) ? input.Pick<ulong>(Addresses) : FuzzMachine.BufferStart + input.UInt16(),
        input.OneIn(3) ? input.Pick<uint>(Lengths) : input.Byte());

    /// <summary>A request as the device's driver makes it, but for some of its fields, lengths and buffers.</summary>
    private void AddRequest(FuzzInput input)
    {
        int queue = input.Next(_machine.Rings.Length);
        if (_machine.Rings[queue] is not { } ring) return;
        int length = Math.Min(_fuzzed.WriteRequest(input, queue, _request), RequestBytesMax);
        if (input.OneIn(8)) length = Math.Min(RequestBytesMax, Math.Max(0, length - 8 + input.Next(16)));
        ulong place = FuzzMachine.BufferStart + ((ulong)input.Byte() << 10);
        _machine.Memory.TryWrite(place, _request.AsSpan(0, length));

        Span<GuestBuffer> readable = stackalloc GuestBuffer[SegmentsMax], writable = stackalloc GuestBuffer[SegmentsMax];
        int readables = length == 0 ? 0 : Cut(input, place, (uint)length, readable);
        int writables = input.Next(SegmentsMax);
        for (int i = 0; i < writables; i++) writable[i] =
            new GuestBuffer(place + RequestBytesMax, input.OneIn(2) ? input.Pick<uint>(Lengths) : input.Byte());
        if (input.OneIn(16)) writable[0] = Buffer(input);
        int buffers = readables + writables;
        if (buffers == 0 || buffers > ring.Size) return;
        ring.UseIndirect = input.OneIn(2);
        if (!ring.TryAdd(readable[..readables], writable[..writables], out _)) return;
        ring.Publish();
        if (!input.OneIn(4)) _machine.Registers.Kick(queue);
        if (!input.OneIn(4)) _machine.Turn(1 + input.Next(4));
    }

    private static int Cut(FuzzInput input, ulong place, uint length, Span<GuestBuffer> buffers)
    {
        uint first = input.OneIn(2) ? length : (uint)input.Next((int)length + 1);
        buffers[0] = input.OneIn(32) ? Buffer(input) : new GuestBuffer(place, first);
        if (first == length) return 1;
        buffers[1] = new GuestBuffer(place + first, length - first);
        return 2;
    }
}
