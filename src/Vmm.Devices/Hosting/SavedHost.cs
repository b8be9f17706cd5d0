namespace Vmm.Devices;

/// <summary>What the devices and serial ports of a host know, for a machine that is put away and goes on in another process.</summary>
internal static class SavedHost
{
    /// <summary>Most devices of a list that is looked at; more than any board has room for.</summary>
    private const int DevicesMax = 1024;

    private const int NameLengthMax = 256;

    internal static void Save(StateWriter to, HostedDevice[] devices, HostedSerial[] serials)
    {
        foreach (HostedDevice hosted in devices)
        {
            StateWriter device = to.AddItem("devices");
            device.Add("name", hosted.Device.Name);
            device.Add("type", hosted.Device.Type.ToString());
            device.Add("slot", (long)hosted.Slot);
            hosted.Reactor.Invoke(_ => hosted.Transport.Save(device));
        }
        foreach (HostedSerial serial in serials)
        {
            StateWriter port = to.AddItem("serial-ports");
            port.Add("name", serial.Port.Name);
            port.Add("port", (ulong)serial.Address);
            // Its backend writes to the host while the machine is paused too: not between two steps of that.
            serial.Reactor.Invoke(_ => ((ISavedState)serial.Port).Save(port.AddRecord("chip")));
        }
    }

    internal static void Restore(StateReader from, HostedDevice[] devices, HostedSerial[] serials)
    {
        Dictionary<string, StateReader> savedDevices = ByName(from, "devices");
        Dictionary<string, StateReader> savedSerials = ByName(from, "serial-ports");
        ThrowIfOthers(from, "devices", savedDevices.Keys, devices.Select(hosted => hosted.Device.Name));
        ThrowIfOthers(from, "serial-ports", savedSerials.Keys, serials.Select(serial => serial.Port.Name));
        foreach (HostedDevice hosted in devices)
        {
            StateReader device = savedDevices[hosted.Device.Name];
            if (device.Text("type", NameLengthMax) is var type && type != hosted.Device.Type.ToString())
                throw device.Wrong("type", $"is {type}, and '{hosted.Device.Name}' is {hosted.Device.Type} here");
            if (PlaceIn(device) is var slot && slot != hosted.Slot)
                throw device.Wrong("slot", $"is {slot}, and '{hosted.Device.Name}' is at {hosted.Slot} here: add the devices in the "
                    + "same order");
            hosted.Reactor.Invoke(reactor => hosted.Transport.Restore(device, reactor));
        }
        foreach (HostedSerial serial in serials)
        {
            StateReader port = savedSerials[serial.Port.Name];
            if (port.UInt64("port", ushort.MaxValue) is var address && address != serial.Address)
                throw port.Wrong("port", $"is 0x{address:x}, and '{serial.Port.Name}' is at 0x{serial.Address:x} here");
            serial.Reactor.Invoke(_ => ((ISavedState)serial.Port).Restore(port.Record("chip")));
        }
    }

    /// <summary>Reads only where each device was.</summary>
    internal static Dictionary<string, int> ReadPlaces(StateReader from) =>
        ByName(from, "devices").ToDictionary(each => each.Key, each => PlaceIn(each.Value));

    private static int PlaceIn(StateReader device) => device.Int32("slot", 0, DevicesMax);

    private static Dictionary<string, StateReader> ByName(StateReader from, string list)
    {
        Dictionary<string, StateReader> byName = [];
        foreach (StateReader item in from.Items(list, DevicesMax))
        {
            string name = item.Text("name", NameLengthMax);
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
