namespace Vmm.Devices;

// A machine that is put away and goes on in another process: what its devices know.
public sealed partial class DeviceHost
{
    /// <summary>Most devices of a list that is looked at; more than any board has room for.</summary>
    private const int SavedDevicesMax = 1024;

    private const int SavedNameLengthMax = 256;

    /// <summary>
    /// Writes the state of every device and serial port. The machine is paused: no vCPU runs, and <see cref="PauseAsync"/> has completed.
    /// Guest memory is not part of it, nor is what a device has of the host: images, sockets, terminals.
    /// </summary>
    /// <exception cref="StateException">A device is not paused, or has requests in flight.</exception>
    public void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        lock (_changes)
        {
            foreach (HostedDevice hosted in _devices)
            {
                StateWriter device = to.AddItem("devices");
                device.Add("name", hosted.Device.Name);
                device.Add("type", hosted.Device.Type.ToString());
                device.Add("slot", (long)hosted.Slot);
                hosted.Reactor.Invoke(_ => hosted.Transport.Save(device));
            }
            foreach (HostedSerial serial in _serials)
            {
                StateWriter port = to.AddItem("serial-ports");
                port.Add("name", serial.Port.Name);
                port.Add("port", (ulong)serial.Address);
                // Its backend writes to the host while the machine is paused too: not between two steps of that.
                serial.Reactor.Invoke(_ => ((ISavedState)serial.Port).Save(port.AddRecord("chip")));
            }
        }
    }

    /// <summary>
    /// Has the devices go on where those of the saved machine stood, when <see cref="ResumeAsync"/> is called: until then they are paused.
    /// Call it when guest memory, interrupt controllers and processors have their state, and before a vCPU runs: interrupt lines that were
    /// up are asserted.
    /// </summary>
    /// <param name="from">What <see cref="Save"/> wrote. The caller ends it with <see cref="StateReader.Complete"/>.</param>
    /// <exception cref="StateException">
    /// This host has other devices, which the message names, or a value does not fit. The host is good for nothing but its disposal then.
    /// </exception>
    public void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        lock (_changes)
        {
            Dictionary<string, StateReader> devices = ByName(from, "devices");
            Dictionary<string, StateReader> serials = ByName(from, "serial-ports");
            ThrowIfOthers(from, "devices", devices.Keys, _devices.Select(hosted => hosted.Device.Name));
            ThrowIfOthers(from, "serial-ports", serials.Keys, _serials.Select(serial => serial.Port.Name));
            foreach (HostedDevice hosted in _devices)
            {
                StateReader device = devices[hosted.Device.Name];
                if (device.Text("type", SavedNameLengthMax) is var type && type != hosted.Device.Type.ToString())
                    throw device.Wrong("type", $"is {type}, and '{hosted.Device.Name}' is {hosted.Device.Type} here");
                if (PlaceIn(device) is var slot && slot != hosted.Slot)
                    throw device.Wrong("slot", $"is {slot}, and '{hosted.Device.Name}' is at {hosted.Slot} here: add the devices in the "
                        + "same order");
                hosted.Reactor.Invoke(reactor => hosted.Transport.Restore(device, reactor));
            }
            foreach (HostedSerial serial in _serials)
            {
                StateReader port = serials[serial.Port.Name];
                if (port.UInt64("port", ushort.MaxValue) is var address && address != serial.Address)
                    throw port.Wrong("port", $"is 0x{address:x}, and '{serial.Port.Name}' is at 0x{serial.Address:x} here");
                serial.Reactor.Invoke(_ => ((ISavedState)serial.Port).Restore(port.Record("chip")));
            }
        }
    }

    /// <summary>Reads only where each device was.</summary>
    internal static Dictionary<string, int> ReadPlaces(StateReader from) =>
        ByName(from, "devices").ToDictionary(each => each.Key, each => PlaceIn(each.Value));

    private static int PlaceIn(StateReader device) => device.Int32("slot", 0, SavedDevicesMax);

    /// <summary>Announces where the devices will write in their rings. The machine is paused.</summary>
    internal void KeepRings(IBeforeWrite guard)
    {
        foreach (HostedDevice hosted in _devices) hosted.Transport.KeepRings(guard);
    }

    private static Dictionary<string, StateReader> ByName(StateReader from, string list)
    {
        Dictionary<string, StateReader> byName = [];
        foreach (StateReader item in from.Items(list, SavedDevicesMax))
        {
            string name = item.Text("name", SavedNameLengthMax);
            if (!byName.TryAdd(name, item)) throw item.Wrong("name", $"is '{name}', as another one's");
        }
        return byName;
    }

    private static void ThrowIfOthers(StateReader from, string list, IReadOnlyCollection<string> saved, IEnumerable<string> here)
    {
        HashSet<string> own = [.. here];
        string[] missing = [.. saved.Where(name => !own.Contains(name))];
        string[] added = [.. own.Where(name => !saved.Contains(name))];
        if (missing.Length + added.Length == 0) return;
        string differs = string.Join("; ", new[]
        {
            missing.Length > 0 ? $"it had {Quoted(missing)}, which this one does not have" : "",
            added.Length > 0 ? $"it did not have {Quoted(added)}" : "",
        }.Where(part => part.Length > 0));
        throw from.Wrong(list, $"are those of another machine: {differs}");
    }

    private static string Quoted(IEnumerable<string> names) => string.Join(", ", names.Select(name => $"'{name}'"));
}
