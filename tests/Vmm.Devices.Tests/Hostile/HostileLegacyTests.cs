using Vmm.Devices.Kvm;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>The devices of an old PC and their ports, accessed as no driver does. None has a ring, a buffer or a reactor.</summary>
[Trait("Device", "serial port, CMOS, keyboard controller, ACPI power, pvpanic, exit port, phase port, absent devices")]
[Trait("Rings", "none")]
public sealed class HostileLegacyTests
{
    private const ulong Start = 0x1000;
    private const int Rounds = 20;

    /// <summary>Longest a clock is left alone in a round: some years.</summary>
    private const int SecondsMax = 100_000_000;

    /// <summary>A device on a bus, as large as it is there, and what "it works" means.</summary>
    private sealed record Legacy(IBusDevice Device, ulong Length, Func<Bus, bool> Works);

    private static readonly Dictionary<string, Func<CountingClock, Legacy>> Devices = new()
    {
        ["serial port"] = _ => new(new Uart16550(new CountingLine()), Uart16550.RegisterCount, bus => Keeps(bus, UartRegister.Scratch)),
        ["serial port with a stride of 4"] = _ => new(new Uart16550(new CountingLine(), registerStride: 4), 4 * Uart16550.RegisterCount, bus => Keeps(bus, 4 * UartRegister.Scratch)),
        ["CMOS"] = clock => new(new CmosDevice(clock, memoryBytes: 3UL << 30, new CountingLine()), CmosDevice.RangeLength, KeepsBytes),
        ["keyboard controller"] = _ => new(new I8042Device(() => { }), I8042Device.RangeLength, TestsItself),
        ["ACPI power control"] = _ => new(new AcpiPowerControl(() => { }, () => { }), AcpiPowerControl.RangeLength, bus => ReadByte(bus, AcpiPowerControl.SleepStatusOffset) == 0),
        ["pvpanic"] = _ => new(new PvPanicDevice(_ => { }), PvPanicDevice.RangeLength, bus => ReadByte(bus, 0) == 3),
        ["exit port"] = _ => new(new DebugExitDevice(_ => { }), DebugExitDevice.RangeLength, bus => ReadByte(bus, 0) == 0),
        ["phase port"] = _ => new(new PhasePort(_ => { }), PhasePort.RangeLength, bus => ReadByte(bus, 0) == 0),
        ["absent device"] = _ => new(new AbsentDevice("anything"), 8, bus => ReadByte(bus, 3) == 0xff),
    };

    public static TheoryData<string> Cases => [.. Devices.Keys];

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2021-45464 (kvmtool: configuration accessed beyond its end), here for ports: any offset, width and direction, aligned or not")]
    [Trait("Outcome", "an answer, or that of an absent device; its neighbours on the bus notice nothing")]
    public void Any_access_to_any_offset_has_an_answer_and_leaves_a_device_that_works(string device)
    {
        CountingClock clock = new(DateTimeOffset.UnixEpoch.AddYears(50));
        Legacy legacy = Devices[device](clock);
        Counter before = new(), after = new();
        Bus bus = new("hostile");
        bus.Add(Start - 8, 8, before);
        bus.Add(Start, legacy.Length, legacy.Device);
        bus.Add(Start + legacy.Length, 8, after);
        Assert.True(legacy.Works(bus));
        Random random = new(9);
        for (int round = 0; round < Rounds; round++)
        {
            foreach (int width in (int[])[1, 2, 3, 4, 8])
            {
                byte[] data = new byte[width];
                for (ulong offset = 0; offset < legacy.Length; offset++)
                {
                    bool inside = offset + (ulong)width <= legacy.Length;
                    Assert.Equal(inside, bus.Read(Start + offset, data));
                    random.NextBytes(data);
                    Assert.Equal(inside, bus.Write(Start + offset, data));
                }
            }
            clock.Advance(TimeSpan.FromSeconds(random.Next(SecondsMax)));
        }
        Assert.True(legacy.Works(bus));
        Assert.Equal((0, 0), (before.Accesses, after.Accesses));
        (legacy.Device as IDisposable)?.Dispose();
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "registers written without end: a device that keeps what is written, or starts something for each write")]
    [Trait("Outcome", "nothing is allocated")]
    public void Accesses_without_end_allocate_nothing(string device)
    {
        Legacy legacy = Devices[device](new CountingClock(DateTimeOffset.UnixEpoch.AddYears(50)));
        Bus bus = new("hostile");
        bus.Add(Start, legacy.Length, legacy.Device);
        int times = HostileCase.Repeats(20_000);
        Access(1_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Access(times);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, times);
        Assert.True(legacy.Works(bus));
        (legacy.Device as IDisposable)?.Dispose();

        void Access(int count)
        {
            Random random = new(10);
            Span<byte> data = stackalloc byte[8];
            for (int i = 0; i < count; i++)
            {
                ulong offset = (ulong)random.NextInt64((long)legacy.Length);
                random.NextBytes(data);
                bus.Write(Start + offset, data[..(1 << random.Next(4))]);
                bus.Read(Start + offset, data[..(1 << random.Next(4))]);
            }
        }
    }

    [Fact]
    [Trait("Device", "CMOS")]
    [Trait("Source", "an index that is out of range in the port before the data: memory behind the bytes there are")]
    [Trait("Outcome", "the index wraps to the 128 bytes")]
    public void An_index_beyond_the_bytes_of_a_clock_stays_among_them()
    {
        using CmosDevice clock = new(new CountingClock(DateTimeOffset.UnixEpoch.AddYears(50)));
        byte[] seen = new byte[1];
        for (int index = 0; index < 256; index++)
        {
            clock.Write(0, [(byte)index]);
            clock.Read(0, seen);
            Assert.Equal(index & 0x7f, seen[0]);
            clock.Read(1, seen);
            clock.Write(1, [0xff]);
        }
    }

    [Fact]
    [Trait("Device", "CMOS")]
    [Trait("Source", "alarms set without end, each to the next second: a timer for each, or one that fires for ever")]
    [Trait("Outcome", "one timer; one interrupt until it is taken back")]
    public void Alarms_without_end_keep_one_timer_and_one_interrupt()
    {
        CountingClock time = new(DateTimeOffset.UnixEpoch.AddYears(50));
        CountingLine cmosLine = new();
        using CmosDevice cmos = new(time, interrupt: cmosLine);
        int timers = time.Timers;
        for (int i = 0; i < 10_000; i++)
        {
            // Every second and every update.
            foreach ((byte index, byte value) in ((byte, byte)[])[(0x01, 0xc0), (0x03, 0xc0), (0x05, 0xc0), (0x0b, 0x32)]) cmos.Write(0, [index, value]);
        }
        Assert.Equal(timers, time.Timers);
        time.Advance(TimeSpan.FromSeconds(3600));
        Assert.Equal(1, cmosLine.Asserts);
    }

    private static bool Keeps(Bus bus, int register)
    {
        bus.Write(Start + (ulong)register, [0x5a]);
        return ReadByte(bus, register) == 0x5a;
    }

    private static bool KeepsBytes(Bus bus)
    {
        bus.Write(Start, [0x40, 0xa5]);
        return ReadByte(bus, 1) == 0xa5;
    }

    private static bool TestsItself(Bus bus)
    {
        // An answer nobody took, and a command that waits for its byte.
        ReadByte(bus, 0);
        bus.Write(Start + 4, [0xaa]);
        return ReadByte(bus, 0) == 0x55;
    }

    private static int ReadByte(Bus bus, int offset)
    {
        byte[] data = new byte[1];
        return bus.Read(Start + (ulong)offset, data) ? data[0] : -1;
    }

    private sealed class Counter : IBusDevice
    {
        internal int Accesses { get; private set; }

        public void Read(ulong offset, Span<byte> data) => Accesses++;

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Accesses++;
    }
}
