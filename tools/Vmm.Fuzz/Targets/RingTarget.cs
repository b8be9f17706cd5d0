using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// A queue alone, with a driver that writes anything into its ring, memory that comes and goes, and a device that gives chains back in any
/// order. Touches every byte range it is given: one that is not mapped ends the process.
/// </summary>
internal sealed class RingTarget(Tally tally) : IFuzzTarget
{
    private const ulong Memory = 4 << 20;
    private const ulong Buffers = 2 << 20;
    private const ulong Extra = 1UL << 32;
    private const ulong ExtraBytes = 8192;
    private const int ChainsPerTurn = 8;

    private static readonly ulong[] Addresses =
        [0, Buffers, Buffers + 4095, Memory - 8, Memory, Extra, Extra + 4090, ulong.MaxValue - 7, ulong.MaxValue];
    private static readonly uint[] Lengths =
        [0, 1, 8, 16, 17, 32, 256, 4096, 1 << 20, int.MaxValue, 1u << 31, uint.MaxValue - 15, uint.MaxValue];

    private readonly GuestMemory _memory = GuestMemory.Create(Memory);
    private readonly List<DescriptorChain> _inFlight = [];
    private readonly NoLine _interrupt = new();

    public void Run(FuzzInput input)
    {
        if (!_memory.Contains(0, Memory)) Add(0, Memory);
        if (!_memory.Contains(Extra, ExtraBytes)) Add(Extra, ExtraBytes);
        int shape = input.Next(8);
        ulong features = VirtioFeatures.Version1 | ((shape & 1) != 0 ? VirtioFeatures.PackedRing : 0) | ((shape & 2) != 0
            ? VirtioFeatures.EventIndex : 0)
            | ((shape & 4) != 0 ? VirtioFeatures.IndirectDescriptors : 0);
        ushort size = (shape & 1) != 0 ? (ushort)(1 + input.Next(20)) : (ushort)(1 << input.Next(5));
        using DriverQueue driver = DriverQueue.Create(_memory, new GuestAllocator(4096, Buffers - 4096), size, features);
        VirtQueue device = Start(driver, null);
        int steps = 0;
        for (; !input.IsSpent; steps++)
        {
            Misbehave(driver, input);
            Serve(device, input);
            if (device.FirstFault.Kind == GuestFaultKind.None) continue;
            BrokenPromiseException.Unless(!device.TryPop(out _), "a chain after a fault");
            tally.Add(device.FirstFault.Kind.ToString());
            Stop(device);
            if (!_memory.Contains(0, Memory)) Add(0, Memory);
            device = Start(driver, driver is SplitDriverQueue ? input.UInt16() : null);
            if (driver is SplitDriverQueue split) split.AvailableIndex = device.AvailBase;
        }
        tally.Add("steps", steps);
        Stop(device);
    }

    public void Dispose() => _memory.Dispose();

    private VirtQueue Start(DriverQueue driver, ushort? position)
    {
        QueueConfiguration configuration = driver.Configuration() with { AvailBase = position };
        if (!VirtQueue.TryCreate(configuration, _memory, _interrupt, out VirtQueue? device, out GuestFault fault))
            throw new BrokenPromiseException(fault.Text);
        return device;
    }

    private void Stop(VirtQueue device)
    {
        foreach (DescriptorChain chain in _inFlight) device.Push(chain, 0);
        _inFlight.Clear();
        device.Publish();
        BrokenPromiseException.Unless(device.InFlight == 0, $"{device.InFlight} chains in flight that no device has");
        device.Dispose();
    }

    private void Add(ulong start, ulong bytes)
    {
        if (!_memory.TryAdd(GuestRegion.Create(start, bytes), out string? refusal)) throw new BrokenPromiseException(refusal);
    }

    /// <summary>One thing a driver could do to memory that the device shares.</summary>
    private void Misbehave(DriverQueue driver, FuzzInput input)
    {
        switch (input.Next(40))
        {
            case 0: _memory.Remove(Extra); return;
            case 1 when !_memory.Contains(Extra, ExtraBytes): Add(Extra, ExtraBytes); return;
            case 2 when input.OneIn(10): _memory.Remove(0); return;
            case < 5: Scribble(input, driver.DescriptorTable, driver.Size * 16); return;
            case < 7: Scribble(input, driver.DriverRing, driver is PackedDriverQueue ? 4 : 4 + driver.Size * 2); return;
            case 7: Scribble(input, driver.DeviceRing, 4); return;
            case < 12: Scribble(input, Buffers, 512); return;
            default: WriteRing(driver, input); return;
        }
    }

    /// <summary>Writes a few descriptors, mostly plausible, and makes one available.</summary>
    private static void WriteRing(DriverQueue driver, FuzzInput input)
    {
        ushort size = driver.Size;
        for (int i = input.Next(4); i >= 0; i--)
        {
            ulong address = input.OneIn(3) ? input.Pick<ulong>(Addresses) : Buffers + (ulong)input.Next(512);
            uint length = input.OneIn(4) ? input.Pick<uint>(Lengths) : (uint)(1 + input.Next(8)) * 16;
            ushort flags = (ushort)(input.OneIn(8) ? input.Next(8) : input.Next(4));
            if (driver is PackedDriverQueue packed)
            {
                ushort id = input.OneIn(10) ? input.UInt16() : (ushort)input.Next(size);
                packed.WriteDescriptor(input.Next(size), address, length, id, (ushort)(flags | (input.OneIn(3) ? 0x8000 : 0x80)));
            }
            else
            {
                ((SplitDriverQueue)driver)
                    .WriteDescriptor(input.Next(size), address, length, flags, (ushort)input.Next(size + (input.OneIn(20) ? 2 : 0)));
            }
        }
        if (driver is not SplitDriverQueue split) return;
        ushort at = split.AvailableIndex;
        split.WriteAvailable(at, (ushort)input.Next(size + (input.OneIn(30) ? 1 : 0)));
        split.AvailableIndex = (ushort)(at + (input.OneIn(50) ? input.UInt16() : input.Next(2)));
    }

    private void Scribble(FuzzInput input, ulong address, int length)
    {
        Span<byte> noise = stackalloc byte[1 + input.Next(8)];
        input.Fill(noise);
        _memory.TryWrite(address + (ulong)input.Next(length), noise);
    }

    private void Serve(VirtQueue device, FuzzInput input)
    {
        device.Turn.ChainsMax = ChainsPerTurn;
        device.Turn.Begin();
        device.DisableKicks();
        int served = 0;
        while (device.TryPop(out DescriptorChain? chain))
        {
            BrokenPromiseException.Unless(++served <= ChainsPerTurn, "a turn without end");
            Touch(chain);
            _inFlight.Add(chain);
            if (input.OneIn(2)) GiveBack(device, input);
        }
        while (_inFlight.Count > 0 && input.OneIn(2)) GiveBack(device, input);
        device.Publish();
        device.EnableKicks();
        tally.Add("chains", served);
        BrokenPromiseException.Unless(device.InFlight <= device.Size && device.InFlight == _inFlight.Count,
            $"{device.InFlight} chains in flight, not {_inFlight.Count}");
    }

    private void GiveBack(VirtQueue device, FuzzInput input)
    {
        int which = input.Next(_inFlight.Count);
        device.Push(_inFlight[which], (uint)Math.Min(_inFlight[which].WritableLength, uint.MaxValue));
        _inFlight.RemoveAt(which);
    }

    /// <summary>Touches the first and last byte of every piece.</summary>
    private static void Touch(DescriptorChain chain)
    {
        ulong readable = 0, writable = 0;
        for (ChainReader reader = chain.Readable; reader.TryNext(out ReadOnlySpan<byte> span);)
        {
            readable += (ulong)span.Length;
            _ = span[0] + span[^1];
        }
        for (ChainWriter writer = chain.Writable; writer.TryNext(out Span<byte> span);)
        {
            writable += (ulong)span.Length;
            span[0] = span[^1] = 0x5a;
        }
        BrokenPromiseException.Unless(
            readable == chain.ReadableLength && writable == chain.WritableLength && readable + writable <= 1UL << 32,
            $"{readable} + {writable} bytes in a chain of {chain.ReadableLength} + {chain.WritableLength}");
    }
}
