namespace Vmm.Devices.Kvm;

/// <summary>The chips of a PC that Linux needs beside the virtio devices of its host.</summary>
internal sealed class KvmChips(Action reset) : IDisposable
{
    private const string EventsName = "events";

    private readonly I8042Device _keyboard = new(reset);
    private readonly MachineEvents _events = new();
    private CmosDevice? _clock;

    /// <summary>What the guest reads of its devices and its power button.</summary>
    internal MachineEvents Events => _events;

    internal ISavedState Keyboard => _keyboard;

    private (string Name, ISavedState Chip)[] Saved => [("keyboard-controller", _keyboard), ("clock", _clock!), (EventsName, _events)];

    /// <summary>Puts them where Linux looks for them, with what is only there to be absent, or to end the machine.</summary>
    internal void AddTo(KvmBoard board, IReadOnlyList<HostedSerial> serials, AcpiPowerControl power, PvPanicDevice panic)
    {
        Bus ports = board.Ports;
        _clock = new CmosDevice(interrupt: board.Line((int)MachinePorts.ClockGsi));
        ports.Add(MachinePorts.KeyboardController, I8042Device.RangeLength, _keyboard);
        ports.Add(MachinePorts.Clock, CmosDevice.RangeLength, _clock);
        ports.Add(MachinePorts.AcpiPower, AcpiPowerControl.RangeLength, power);
        ports.Add(MachinePorts.Events, MachineEvents.RangeLength, _events);
        ports.Add(MachinePorts.Panic, PvPanicDevice.RangeLength, panic);
        foreach ((ushort port, ulong length, string what) in MachinePorts.Absent)
        {
            if (serials.All(serial => serial.Address != port)) ports.Add(port, length, new AbsentDevice(what));
        }
    }

    internal void Save(StateWriter to, bool takesDevices)
    {
        foreach ((string name, ISavedState chip) in Saved)
        {
            if (chip != _events || takesDevices) chip.Save(to.AddRecord(name));
        }
    }

    /// <summary>Makes them what they were.</summary>
    /// <returns>Whether devices could come and go while the machine ran: older snapshots are of machines that took none.</returns>
    internal bool Restore(StateReader from)
    {
        bool takesDevices = from.Has(EventsName);
        foreach ((string name, ISavedState chip) in Saved)
        {
            if (chip != _events || takesDevices) chip.Restore(from.Record(name));
        }
        return takesDevices;
    }

    public void Dispose() => _clock?.Dispose();
}
