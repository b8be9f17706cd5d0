using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>
/// A driver that does anything: right chains, wrong descriptors, scribbles over its rings, memory that comes and goes. VMM_FUZZ_SECONDS sets how
/// long (default 2), VMM_SEED replays.
/// </summary>
public sealed class RingFuzzTests(ITestOutputHelper output)
{
    private const int StepsPerRun = 300;
    private const ulong Extra = 1UL << 32;
    private static readonly ulong[] Addresses =
        [0, RingRig.BufferStart, RingRig.BufferStart + 4095, RingRig.MemoryLength - 8, RingRig.MemoryLength, Extra, Extra + 4090, ulong.MaxValue - 7, ulong.MaxValue];
    private static readonly uint[] Lengths = [0, 1, 8, 16, 17, 32, 256, 4096, 1 << 20, int.MaxValue, 1u << 31, uint.MaxValue - 15, uint.MaxValue];

    [Fact]
    public void Nothing_a_driver_writes_into_its_ring_gets_out_of_bounds()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("VMM_SEED"), out int given) ? given : Random.Shared.Next();
        double seconds = double.TryParse(Environment.GetEnvironmentVariable("VMM_FUZZ_SECONDS"), out double wanted) ? wanted : 2;
        output.WriteLine($"VMM_SEED={seed}");
        Stopwatch watch = Stopwatch.StartNew();
        long steps = 0;
        int[] faults = new int[Enum.GetValues<GuestFaultKind>().Length];
        for (int run = 0; run == 0 || watch.Elapsed.TotalSeconds < seconds; run++)
        {
            try
            {
                steps += Run(new Random(seed + run), faults);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"VMM_SEED={seed + run} VMM_FUZZ_SECONDS=0: {e.Message}", e);
            }
        }
        output.WriteLine($"{steps} steps, {steps / watch.Elapsed.TotalSeconds:N0} a second; faults: "
            + string.Join(", ", faults.Select((count, kind) => $"{(GuestFaultKind)kind} {count}")));
        if (seconds >= 1) Assert.All(faults[(int)GuestFaultKind.RingLayout..(int)GuestFaultKind.Request], count => Assert.True(count > 0, "a kind of fault never seen: the fuzzer is blind"));
    }

    private static int Run(Random random, int[] faults)
    {
        RingShape shape = new(random.Next(2) == 0, random.Next(2) == 0, random.Next(2) == 0);
        ushort size = shape.Packed ? (ushort)random.Next(1, 20) : (ushort)(1 << random.Next(5));
        using RingRig rig = new(shape, size);
        Assert.True(rig.Memory.TryAdd(GuestRegion.Create(Extra, 8192), out _));
        List<DescriptorChain> inFlight = [];
        VirtQueue device = rig.Device;
        for (int step = 0; step < StepsPerRun; step++)
        {
            Misbehave(rig, random);
            Serve(rig, device, random, inFlight);
            if (device.FirstFault.Kind == GuestFaultKind.None) continue;

            Assert.False(device.TryPop(out _));
            faults[(int)device.FirstFault.Kind]++;
            Restart();
        }
        foreach (DescriptorChain chain in inFlight) device.Push(chain, 0);
        device.Dispose();
        return StepsPerRun;

        void Restart()
        {
            foreach (DescriptorChain chain in inFlight) device.Push(chain, 0);
            inFlight.Clear();
            device.Publish();
            device.Dispose();
            if (rig.Memory.Regions.Count == 0 || rig.Memory.Regions[0].GuestAddress != 0)
                Assert.True(rig.Memory.TryAdd(GuestRegion.Create(0, RingRig.MemoryLength), out _));
            QueueConfiguration configuration = rig.Driver.Configuration() with { AvailBase = shape.Packed ? null : (ushort)random.Next(65536) };
            if (!VirtQueue.TryCreate(configuration, rig.Memory, rig.Signals, out VirtQueue? fresh, out GuestFault fault))
                throw new InvalidOperationException(fault.Text);
            device = fresh;
            if (!shape.Packed) WriteRing(rig, random, index: device.AvailBase);
        }
    }

    /// <summary>One thing a driver could do to memory that the device shares.</summary>
    private static void Misbehave(RingRig rig, Random random)
    {
        switch (random.Next(40))
        {
            case 0:
                rig.Memory.Remove(Extra);
                break;
            case 1:
                GuestRegion extra = GuestRegion.Create(Extra, 8192);
                if (!rig.Memory.TryAdd(extra, out _)) extra.Dispose();
                break;
            case 2 when random.Next(10) == 0:
                rig.Memory.Remove(0);
                break;
            case < 5:
                Scribble(rig, random, rig.Driver.DescriptorTable, rig.Driver.Size * 16);
                break;
            case < 7:
                Scribble(rig, random, rig.Driver.DriverRing, rig.Driver is PackedDriverQueue ? 4 : 4 + rig.Driver.Size * 2);
                break;
            case 7:
                Scribble(rig, random, rig.Driver.DeviceRing, 4);
                break;
            case < 12:
                Scribble(rig, random, RingRig.BufferStart, 512);
                break;
            default:
                WriteRing(rig, random, index: null);
                break;
        }
    }

    /// <summary>Writes a few descriptors, mostly plausible, and makes one available.</summary>
    private static void WriteRing(RingRig rig, Random random, ushort? index)
    {
        ushort size = rig.Driver.Size;
        for (int i = random.Next(1, 5); i > 0; i--)
        {
            ulong address = random.Next(3) > 0 ? RingRig.BufferStart + (ulong)random.Next(512) : Addresses[random.Next(Addresses.Length)];
            uint length = random.Next(4) > 0 ? (uint)random.Next(1, 9) * 16 : Lengths[random.Next(Lengths.Length)];
            ushort flags = (ushort)(random.Next(8) == 0 ? random.Next(8) : random.Next(4));
            if (rig.Driver is PackedDriverQueue packed)
            {
                ushort available = random.Next(3) == 0 ? (ushort)0x8000 : (ushort)0x80;
                packed.WriteDescriptor(random.Next(size), address, length, (ushort)random.Next(random.Next(10) == 0 ? 65536 : size), (ushort)(flags | available));
            }
            else
            {
                rig.Split.WriteDescriptor(random.Next(size), address, length, flags, (ushort)random.Next(size + (random.Next(20) == 0 ? 2 : 0)));
            }
        }
        if (rig.Driver is not SplitDriverQueue split) return;
        ushort at = index ?? split.AvailableIndex;
        split.WriteAvailable(at, (ushort)random.Next(size + (random.Next(30) == 0 ? 1 : 0)));
        split.AvailableIndex = (ushort)(at + (random.Next(50) == 0 ? random.Next(65536) : random.Next(2)));
    }

    private static void Scribble(RingRig rig, Random random, ulong address, int length)
    {
        byte[] noise = new byte[random.Next(1, 9)];
        random.NextBytes(noise);
        rig.Memory.TryWrite(address + (ulong)random.Next(length), noise);
    }

    private static void Serve(RingRig rig, VirtQueue device, Random random, List<DescriptorChain> inFlight)
    {
        device.BeginTurn(8);
        device.DisableKicks();
        int served = 0;
        while (device.TryPop(out DescriptorChain? chain))
        {
            Assert.True(++served <= 8, "a turn without end");
            Touch(chain);
            inFlight.Add(chain);
            if (random.Next(2) == 0) Give(device, random, inFlight);
        }
        while (inFlight.Count > 0 && random.Next(3) > 0) Give(device, random, inFlight);
        device.Publish();
        device.EnableKicks();
        Assert.InRange(device.InFlight, 0, device.Size);
        Assert.Equal(inFlight.Count, device.InFlight);
    }

    private static void Give(VirtQueue device, Random random, List<DescriptorChain> inFlight)
    {
        int which = random.Next(inFlight.Count);
        device.Push(inFlight[which], (uint)Math.Min(inFlight[which].WritableLength, uint.MaxValue));
        inFlight.RemoveAt(which);
    }

    /// <summary>Touches the first and last byte of every piece: what is not mapped ends the process.</summary>
    private static void Touch(DescriptorChain chain)
    {
        ulong total = 0;
        for (ChainReader reader = chain.Readable; reader.TryNext(out ReadOnlySpan<byte> span);)
        {
            total += (ulong)span.Length;
            _ = span[0] + span[^1];
        }
        Assert.Equal(chain.ReadableLength, total);
        for (ChainWriter writer = chain.Writable; writer.TryNext(out Span<byte> span);)
        {
            total += (ulong)span.Length;
            span[0] = span[^1] = 0x5a;
        }
        Assert.Equal(chain.ReadableLength + chain.WritableLength, total);
        Assert.InRange(total, 0u, 1UL << 32);
    }
}
