using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// The exits of a vCPU without a vCPU: both buses of a machine with the legacy devices of a PC, any address, width and direction, while
/// devices are mapped and unmapped. A model of the ranges says who must have answered.
/// </summary>
internal sealed class BusTarget(Tally tally) : IFuzzTarget
{
    private const int StepsMax = 400;
    private const ulong UartStart = BootLayout.Devices + 0x1000;

    private readonly ManualClock _clock = new();

    public void Run(FuzzInput input)
    {
        Model ports = new("port"), memory = new("mmio");
        ports.Add(MachinePorts.KeyboardController, I8042Device.RangeLength, new I8042Device(() => tally.Add("resets")));
        ports.Add(MachinePorts.Clock, CmosDevice.RangeLength, new CmosDevice(_clock, memoryBytes: 3UL << 30));
        ports.Add(MachinePorts.AcpiPower, AcpiPowerControl.RangeLength,
            new AcpiPowerControl(() => tally.Add("power-offs"), () => tally.Add("resets")));
        ports.Add(MachinePorts.Panic, PvPanicDevice.RangeLength, new PvPanicDevice(_ => tally.Add("panics")));
        ports.Add(MachinePorts.Serial, Uart16550.RegisterCount, new Uart16550(new NoLine()));
        ports.Add(0x501, DebugExitDevice.RangeLength, new DebugExitDevice(_ => tally.Add("exits")));
        ports.Add(0x510, PhasePort.RangeLength, new PhasePort(_ => tally.Add("phases")));
        foreach ((ushort port, ulong length, string what) in MachinePorts.Absent) ports.Add(port, length, new AbsentDevice(what));
        memory.Add(UartStart, 32, new Uart16550(new NoLine(), registerStride: 4));

        int steps = 0;
        for (; !input.IsSpent && steps < StepsMax; steps++)
        {
            Model bus = input.OneIn(3) ? memory : ports;
            if (input.OneIn(32)) _clock.Advance(TimeSpan.FromSeconds(input.UInt16()));
            else if (input.OneIn(16)) bus.Change(input);
            else bus.Access(input);
        }
        tally.Add("steps", steps);
    }

    public void Dispose()
    {
    }

    /// <summary>A bus, and what its ranges are by the plainest means.</summary>
    private sealed class Model(string name)
    {
        private readonly Bus _bus = new(name);
        private readonly List<(ulong Start, ulong Length)> _ranges = [];

        internal void Add(ulong start, ulong length, IBusDevice device)
        {
            _bus.Add(start, length, device);
            _ranges.Add((start, length));
        }

        internal void Change(FuzzInput input)
        {
            if (input.OneIn(2) && _ranges.Count > 0)
            {
                int which = input.Next(_ranges.Count);
                BrokenPromiseException.Unless(_bus.Remove(_ranges[which].Start), "a range that is mapped can't be removed");
                _ranges.RemoveAt(which);
                return;
            }
            (ulong start, ulong length) = (Address(input), input.OneIn(4) ? input.Interesting() : input.Byte());
            bool fits = length > 0 && start + length - 1 >= start
                && !_ranges.Exists(range => start <= range.Start + range.Length - 1 && range.Start <= start + length - 1);
            bool added = true;
            try
            {
                Add(start, length, new AbsentDevice("anything"));
            }
            catch (Exception refused) when (refused is ArgumentException or InvalidOperationException)
            {
                added = false;
            }
            BrokenPromiseException.Unless(added == fits,
                $"a range at 0x{start:x} of 0x{length:x} bytes was {(added ? "taken" : "refused")}");
        }

        internal void Access(FuzzInput input)
        {
            ulong address = Address(input);
            Span<byte> data = stackalloc byte[1 + input.Next(8)];
            ulong left = (ulong)data.Length - 1;
            bool expected = _ranges.Exists(range => address >= range.Start && address - range.Start < range.Length
                && left <= range.Length - 1 - (address - range.Start));
            bool read = input.OneIn(2);
            if (!read) input.Fill(data);
            bool answered = read ? _bus.Read(address, data) : _bus.Write(address, data);
            BrokenPromiseException.Unless(answered == expected,
                $"{name} 0x{address:x}, {data.Length} bytes: {(answered ? "one device" : "no device")} answered");
            BrokenPromiseException.Unless(answered || !read || !data.ContainsAnyExcept((byte)0xff),
                $"{name} 0x{address:x}: no device answered with something else than ones");
        }

        private ulong Address(FuzzInput input) => input.Next(4) switch
        {
            0 => input.Interesting(),
            1 => input.UInt16(),
            _ when _ranges.Count > 0 && _ranges[input.Next(_ranges.Count)] is var range =>
                range.Start + (ulong)input.Next((int)Math.Min(range.Length, 0x1000) + 8) - 4,
            _ => 0,
        };
    }
}
