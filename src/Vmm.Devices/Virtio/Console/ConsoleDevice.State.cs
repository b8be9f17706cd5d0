namespace Vmm.Devices;

// A console in another process. Its terminals, files and sockets are that process's; bytes in flight go with the device.
public sealed partial class ConsoleDevice
{
    /// <inheritdoc/>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        lock (_sizeLock)
        {
            to.Add("columns", (long)_size.Columns);
            to.Add("rows", (long)_size.Rows);
        }
        foreach (ConsoleChannel channel in _channels) channel.Save(to.AddItem("ports"));
    }

    /// <inheritdoc/>
    /// <remarks>A terminal of this process that has a size already is the one the guest sees.</remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        IReadOnlyList<StateReader> ports = from.Items("ports", PortsMax);
        if (ports.Count != _channels.Length)
            throw from.Wrong("ports", $"are {ports.Count}, and console '{Name}' has {_channels.Length}");
        ushort columns = (ushort)from.Int32("columns", 0, ushort.MaxValue), rows = (ushort)from.Int32("rows", 0, ushort.MaxValue);
        foreach ((ConsoleChannel channel, StateReader port) in _channels.Zip(ports))
        {
            channel.Restore(port, _multiport);
            if (channel.IsConnected != port.Boolean("connected")) HostOpened(channel);
        }
        bool isOther;
        lock (_sizeLock)
        {
            if (_size is { Columns: 0, Rows: 0 }) SetSize(columns, rows);
            isOther = _size.Columns != columns || _size.Rows != rows;
        }
        if (isOther) SendSize();
    }
}
