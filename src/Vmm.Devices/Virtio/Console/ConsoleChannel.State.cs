namespace Vmm.Devices;

/// <content>The port in another process.</content>
internal sealed partial class ConsoleChannel
{
    private const ulong PendingMax = byte.MaxValue;

    internal void Save(StateWriter to)
    {
        to.Add("name", port.Name);
        to.Add("open", IsGuestOpen);
        to.Add("announced", IsAnnounced);
        to.Add("connected", IsConnected);
        to.Add("pending", (ulong)Pending);
        to.Add("taken", (long)_taken);
        to.Add("input", _input.AsSpan(_inputStart, _inputEnd - _inputStart));
        _output.Save(to);
    }

    /// <summary>Has what the port before had. Its host side is the one of this process.</summary>
    internal void Restore(StateReader from, bool isMultiport)
    {
        if (from.Text("name", ConsolePort.NameLengthMax) is var name && name != port.Name)
            throw from.Wrong("name", $"is '{name}', and port {index} of {device.Name} is '{port.Name}'");
        bool isOpen = from.Boolean("open"), isAnnounced = from.Boolean("announced");
        uint pending = (uint)from.UInt64("pending", PendingMax);
        _taken = (ulong)from.Int64("taken", 0, uint.MaxValue);
        byte[] input = from.Bytes("input", InputBytesMax);
        input.CopyTo(_input, 0);
        (_inputStart, _inputEnd) = (0, input.Length);
        _output.Restore(from);
        if (isMultiport) (IsGuestOpen, IsAnnounced, Pending) = (isOpen, isAnnounced, pending);
        // What the guest printed last goes out, whether the guest goes on or not.
        _hostChanged?.TryRing();
    }
}
