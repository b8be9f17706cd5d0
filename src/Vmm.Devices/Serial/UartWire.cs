namespace Vmm.Devices;

/// <summary>What the host side is to be called for.</summary>
[Flags]
internal enum UartHostNeeds
{
    None = 0,
    OutputIsWaiting = 1,
    InputHasRoom = 2,
}

/// <summary>
/// The wire of a serial port: bytes that wait for the host, bytes that wait for the guest, and the carrier. Everything is called under the
/// port's lock.
/// </summary>
internal sealed class UartWire
{
    /// <summary>The host is read again when no more than this waits, not for each byte.</summary>
    private const int InputBacklogLow = Uart16550.InputBacklogMax / 2;

    private readonly CircularBytes _output = new(Uart16550.OutputBacklogMax);
    private CircularBytes _input = new(Uart16550.InputBacklogMax);
    private bool _outputReported;
    private bool _inputHeld;
    private CarrierState _carrier;

    /// <summary>
    /// <code>
    ///        the host hangs up            the guest has read what waits
    ///   Up ────────────────────▶ Ending ────────────────────────────────▶ Down
    /// </code>
    /// </summary>
    private enum CarrierState
    {
        Up,
        Ending,
        Down,
    }

    internal bool HasCarrier => _carrier != CarrierState.Down;

    /// <summary>Whether the host takes one more byte.</summary>
    internal bool HasRoom => _output.Room > 0;

    /// <summary>Bytes that wait for the host.</summary>
    internal int OutputCount => _output.Count;

    /// <summary>Bytes of the host there is room for.</summary>
    internal int InputRoom => _input.Room;

    /// <summary>The chip sends a byte.</summary>
    /// <returns>False if there is no room for it.</returns>
    internal bool TryTransmit(byte value) => _output.Write([value]) == 1;

    /// <summary>The chip takes the oldest byte of the host.</summary>
    internal bool TryReceive(out byte value) => _input.TryTake(out value);

    /// <summary>Copies the oldest bytes for the host, which is called again if there are none.</summary>
    internal int PeekOutput(Span<byte> bytes)
    {
        int length = _output.Peek(bytes);
        if (length == 0) _outputReported = false;
        return length;
    }

    /// <summary>The host has the oldest bytes.</summary>
    internal void SkipOutput(int length) => _output.Skip(length);

    /// <summary>The host sends bytes, as many as there is room for.</summary>
    /// <returns>How many were taken.</returns>
    internal int Give(ReadOnlySpan<byte> bytes) => _input.Write(bytes);

    /// <summary>Whether the host is to send no more until it is called; asked after each <see cref="Give"/>.</summary>
    internal bool HoldIfFull() => _inputHeld = _input.Room == 0;

    /// <summary>The host hung up.</summary>
    internal void Hangup()
    {
        if (_carrier == CarrierState.Up) _carrier = CarrierState.Ending;
    }

    /// <summary>Drops the carrier of a host that hung up, once the guest has read what it sent.</summary>
    internal bool TryDropCarrier()
    {
        if (_carrier != CarrierState.Ending || _input.Count > 0) return false;
        _carrier = CarrierState.Down;
        return true;
    }

    /// <summary>What the host is called for now, outside of the lock.</summary>
    internal UartHostNeeds TakeHostNeeds()
    {
        UartHostNeeds needs = UartHostNeeds.None;
        if (!_outputReported && _output.Count > 0)
        {
            _outputReported = true;
            needs |= UartHostNeeds.OutputIsWaiting;
        }
        if (_inputHeld && _input.Count <= InputBacklogLow)
        {
            _inputHeld = false;
            needs |= UartHostNeeds.InputHasRoom;
        }
        return needs;
    }

    internal void Save(StateWriter to)
    {
        to.Add("output", _output.ToArray());
        to.Add("input", _input.ToArray());
    }

    /// <summary>What came from this process's host meanwhile follows what was saved.</summary>
    internal void Restore(StateReader from)
    {
        _output.Refill(from.Bytes("output", Uart16550.OutputBacklogMax));
        byte[] input = from.Bytes("input", Uart16550.InputBacklogMax);
        byte[] meanwhile = _input.ToArray();
        _input = new CircularBytes(Math.Max(Uart16550.InputBacklogMax, input.Length + meanwhile.Length));
        _input.Write(input);
        _input.Write(meanwhile);
        _inputHeld = _input.Room == 0;
        if (_carrier != CarrierState.Up) _carrier = _input.Count == 0 ? CarrierState.Down : CarrierState.Ending;
    }
}
