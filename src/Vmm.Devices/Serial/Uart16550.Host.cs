namespace Vmm.Devices;

// The far end of the wire. Called by the host side, on a reactor's thread.
public sealed partial class Uart16550
{
    /// <summary>Most bytes of the guest that wait for the host; beyond that the transmitter has no room.</summary>
    public const int OutputBacklogMax = 16 * 1024;

    /// <summary>Most bytes of the host that wait for the guest; beyond that the host is not read.</summary>
    public const int InputBacklogMax = 4 * 1024;

    /// <summary>The host is read again when no more than this waits, not for each byte.</summary>
    private const int InputBacklogLow = InputBacklogMax / 2;

    private const UartModemStatus ConnectedLines = UartModemStatus.ClearToSend | UartModemStatus.DataSetReady | UartModemStatus.Carrier;

    private readonly CircularBytes _output = new(OutputBacklogMax);
    private CircularBytes _input = new(InputBacklogMax);
    private Action? _onOutput;
    private Action? _onInputRoom;
    private long _lostBytes;
    private bool _outputTold;
    private bool _inputHeld;
    private bool _inputEnded;
    private bool _carrierLost;

    [Flags]
    private enum HostNeeds
    {
        None = 0,
        OutputIsWaiting = 1,
        InputHasRoom = 2,
    }

    /// <summary>Bytes the guest wrote although there was no room. Any thread.</summary>
    public long LostBytes
    {
        get { lock (_lock) return _lostBytes; }
    }

    /// <summary>Bytes that wait for <see cref="PeekOutput"/>, those in the chip included. Any thread.</summary>
    public int OutputBacklog
    {
        get { lock (_lock) return _output.Count + _transmit.Count; }
    }

    /// <summary>
    /// Sets what is called, on a vCPU's thread, when output waits or there is room for input again. Once, before the guest runs.
    /// </summary>
    internal void Connect(Action onOutput, Action onInputRoom)
    {
        _onOutput = onOutput;
        _onInputRoom = onInputRoom;
    }

    /// <summary>Copies the oldest bytes the guest transmitted; they stay until <see cref="SkipOutput"/>. One taker at a time.</summary>
    /// <returns>How many; 0 if there are none: then the taker is called when there are.</returns>
    public int PeekOutput(Span<byte> bytes)
    {
        lock (_lock)
        {
            int length = _output.Peek(bytes);
            if (length == 0) _outputTold = false;
            return length;
        }
    }

    /// <summary>The host has the oldest bytes: room for the transmitter.</summary>
    public void SkipOutput(int length)
    {
        lock (_lock)
        {
            _output.Skip(length);
            if (_transmit.Count == 0) return;
            while (_output.Room > 0 && _transmit.TryTake(out byte value)) _output.Write([value]);
            if (_transmit.Count > 0) return;
            _transmitterEmptyPending = true;
            UpdateInterrupt();
        }
    }

    /// <summary>Hands over bytes for the guest, as many as there is room for.</summary>
    /// <param name="bytes">What came in.</param>
    /// <param name="taken">How many of them were taken.</param>
    /// <returns>False if there is no room for more: do not read the host until the next call.</returns>
    public bool TryGiveInput(ReadOnlySpan<byte> bytes, out int taken)
    {
        lock (_lock)
        {
            taken = _input.Write(bytes);
            Refill();
            UpdateInterrupt();
            _inputHeld = _input.Room == 0;
            return !_inputHeld;
        }
    }

    /// <summary>Bytes of the host there is room for.</summary>
    public int InputRoom
    {
        get { lock (_lock) return _input.Room; }
    }

    /// <summary>The host side hung up: when the guest has read what waits, the carrier goes.</summary>
    public void EndInput()
    {
        lock (_lock)
        {
            _inputEnded = true;
            Refill();
            UpdateInterrupt();
        }
    }

    /// <summary>The host side sends a break: a byte of 0 with the break bit, behind what waits in the FIFO.</summary>
    public void SendBreak()
    {
        lock (_lock)
        {
            if (!IsLoopback) Receive(0, UartLineStatus.Break);
        }
    }

    /// <summary>
    /// Whether the guest is ready for input from the host: it raised a modem line or waits for the interrupt. Until then the far side holds
    /// its bytes back, or a driver that sets the chip up would throw away what was sent to it before.
    /// </summary>
    private bool IsListening =>
        (_modemControl & (UartModemControl.DataTerminalReady | UartModemControl.RequestToSend)) != 0
        || (_enabled & UartInterrupts.ReceivedData) != 0;

    /// <summary>Moves waiting input into the chip. In loopback the wire is cut: it waits.</summary>
    private void Refill()
    {
        if (IsLoopback) return;
        while (IsListening && _receive.Count < FifoDepth && _input.TryTake(out byte value))
            _receive.Enqueue(new Received(value, UartLineStatus.None));
        if (!_inputEnded || _input.Count > 0 || _carrierLost) return;
        _carrierLost = true;
        SetModemLines(ModemLines());
    }

    private HostNeeds TakeHostNeeds()
    {
        HostNeeds needs = HostNeeds.None;
        if (!_outputTold && _output.Count > 0)
        {
            _outputTold = true;
            needs |= HostNeeds.OutputIsWaiting;
        }
        if (_inputHeld && _input.Count <= InputBacklogLow)
        {
            _inputHeld = false;
            needs |= HostNeeds.InputHasRoom;
        }
        return needs;
    }

    /// <summary>Calls the host side, outside of the lock.</summary>
    private void Notify(HostNeeds needs)
    {
        if ((needs & HostNeeds.OutputIsWaiting) != 0) _onOutput?.Invoke();
        if ((needs & HostNeeds.InputHasRoom) != 0) _onInputRoom?.Invoke();
    }
}
