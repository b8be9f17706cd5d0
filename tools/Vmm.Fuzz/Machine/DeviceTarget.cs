using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// A device with a driver that does anything: right and wrong requests, raw descriptors, registers in any order, resets of the whole and of
/// a queue at any time, memory that goes away, and a host side that does as it likes meanwhile. After each execution the device is reset
/// and has to work, its neighbour too, with nothing allocated or logged without bound.
/// </summary>
internal sealed partial class DeviceTarget : IFuzzTarget
{
    internal const int RequestBytesMax = 1024;

    private const ulong RingFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;
    private const int StepsMax = 200;
    private const int TurnsMax = 32;
    private const long AllocatedBytesMax = 16 << 20;

    /// <summary>One line for each kind of fault, one for accesses that were refused, and a few kinds of host fault.</summary>
    private const int LinesMax = 24;

    private readonly FuzzedDevice _fuzzed;
    private readonly Tally _tally;
    private readonly VirtioDevice _device;
    private readonly FuzzMachine _machine;
    private readonly byte[] _request = new byte[RequestBytesMax];

    private DeviceTarget(FuzzedDevice fuzzed, PollerKind poller, Tally tally)
    {
        _fuzzed = fuzzed;
        _tally = tally;
        _device = fuzzed.Make();
        _machine = new FuzzMachine(_device, poller);
    }

    /// <summary>Such a device under each poller; the input's last byte chooses.</summary>
    internal static IFuzzTarget Of(Func<FuzzedDevice> make, Tally tally) =>
        new EitherTarget(new DeviceTarget(make(), PollerKind.Epoll, tally), new DeviceTarget(make(), PollerKind.IoRing, tally));

    public void Run(FuzzInput input)
    {
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        long requests = Requests, faults = _device.GuestFaults;
        int steps = 0;
        if (!input.OneIn(16)) Start(input);
        for (; !input.IsSpent && steps < StepsMax; steps++) Act(input);
        _tally.Add("steps", steps);
        _tally.Add("requests", Requests - requests);
        _tally.Add("faults", _device.GuestFaults - faults);
        Prove(ring: (ulong)steps % 8);
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        BrokenPromiseException.Unless(allocated < AllocatedBytesMax, $"{allocated} bytes allocated in {steps} steps");
        BrokenPromiseException.Unless(_machine.Logged <= LinesMax, $"{_machine.Logged} lines logged");
    }

    public void Dispose()
    {
        _fuzzed.HostFinishes();
        _machine.Dispose();
        _fuzzed.HostEnds();
    }

    private long Requests => _device.QueueStatistics.Sum(queue => queue.Requests);

    private void Act(FuzzInput input)
    {
        switch (input.Next(32))
        {
            case 0: _machine.Registers.Reset(); return;
            case 1: Start(input); return;
            case 2: AccessAnyRegister(input); return;
            case 3 or 4: WriteRegister(input); return;
            case 5: AccessConfig(input); return;
            case 6: ResetQueue(input); return;
            case 7 when input.OneIn(4): _machine.ChangeMemory(main: input.OneIn(4)); return;
            case 7 or 8: Scribble(input); return;
            case 9 or 10 or 11: _fuzzed.HostActs(input); return;
            case < 15: WriteRing(input); return;
            case < 25: AddRequest(input); return;
            case < 28: _machine.Registers.Kick(input.Next(_machine.Rings.Length + 1)); return;
            default: _machine.Turn(1 + input.Next(TurnsMax)); return;
        }
    }

    /// <summary>A new driver comes, whatever the one before left.</summary>
    private void Start(FuzzInput input)
    {
        _machine.RestoreMemory();
        _machine.Reset(_fuzzed.HostFinishes);
        ulong features = input.OneIn(4) ? input.UInt64() : ~RingFeatures | Ring(input.Byte());
        if (!_device.AcceptsFeatures(features & (_device.Features | VirtioFeatures.Version1))) features = ulong.MaxValue;
        _machine.Start(features, 1 << input.Next(9));
        _machine.Turn(input.Next(TurnsMax));
    }

    /// <summary>The device is reset and answers, and its neighbour does.</summary>
    private void Prove(ulong ring)
    {
        _fuzzed.HostFinishes();
        _machine.RestoreMemory();
        _machine.Reset(_fuzzed.HostFinishes);
        _machine.Start(~RingFeatures | Ring(ring), sizeMax: 16);
        foreach (BatteryRequest proof in _fuzzed.Proofs) _machine.Prove(proof);
        _machine.AskWitness();
        _machine.Reset(_fuzzed.HostFinishes);
    }

    private static ulong Ring(ulong bits) =>
        ((bits & 1) != 0 ? VirtioFeatures.PackedRing : 0) | ((bits & 2) != 0
            ? VirtioFeatures.EventIndex : 0) | ((bits & 4) != 0 ? VirtioFeatures.IndirectDescriptors : 0);
}
