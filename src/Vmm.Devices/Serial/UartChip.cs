namespace Vmm.Devices;

/// <summary>The registers and FIFOs of a 16550A, and its interrupt. Everything is called under the port's lock.</summary>
/// <param name="interrupt">The line to the guest.</param>
/// <param name="wire">What the chip is connected to.</param>
internal sealed class UartChip(IInterrupt interrupt, UartWire wire)
{
    private const ushort DivisorOf9600Baud = 12;
    private const int ReceivedBytes = 2;
    private const UartModemStatus ConnectedLines = UartModemStatus.ClearToSend | UartModemStatus.DataSetReady | UartModemStatus.Carrier;

    private readonly Queue<Received> _receive = new(Uart16550.FifoSize);
    private readonly CircularBytes _transmit = new(Uart16550.FifoSize);
    private UartInterrupts _enabled;
    private UartLineControl _lineControl;
    private UartModemControl _modemControl;
    private UartModemStatus _modemStatus = ConnectedLines;
    private byte _scratch;
    private ushort _divisor = DivisorOf9600Baud;
    private int _trigger = 1;
    private bool _fifosOn;
    private bool _overrun;
    private bool _transmitterEmptyPending;
    private bool _lineUp;

    /// <summary>Bytes the guest wrote although there was no room.</summary>
    internal long LostBytes { get; private set; }

    /// <summary>Bytes that wait in the chip for the host.</summary>
    internal int OutputCount => _transmit.Count;

    private int FifoDepth => _fifosOn ? Uart16550.FifoSize : 1;

    private bool IsLoopback => (_modemControl & UartModemControl.Loopback) != 0;

    private bool DivisorLatchOpen => (_lineControl & UartLineControl.DivisorAccess) != 0;

    /// <summary>
    /// Whether the guest is ready for input from the host: it raised a modem line or waits for the interrupt. Until then the far side holds
    /// its bytes back, or a driver that sets the chip up would throw away what was sent to it before.
    /// </summary>
    private bool IsListening =>
        (_modemControl & (UartModemControl.DataTerminalReady | UartModemControl.RequestToSend)) != 0
        || (_enabled & UartInterrupts.ReceivedData) != 0;

    /// <summary>Makes the chip what it is at power-on.</summary>
    internal void Reset()
    {
        _enabled = default;
        _lineControl = default;
        _modemControl = default;
        _modemStatus = ModemLines();
        _scratch = 0;
        _divisor = DivisorOf9600Baud;
        _trigger = 1;
        _fifosOn = _overrun = _transmitterEmptyPending = false;
        _receive.Clear();
        UpdateInterrupt();
    }

    /// <summary>The wire has room: moves on what waits in the transmitter.</summary>
    internal void Drain()
    {
        if (_transmit.Count == 0) return;
        while (wire.HasRoom && _transmit.TryTake(out byte value)) wire.TryTransmit(value);
        if (_transmit.Count > 0) return;
        _transmitterEmptyPending = true;
        UpdateInterrupt();
    }

    /// <summary>Something came in on the wire, or its carrier is about to go.</summary>
    internal void Look()
    {
        Refill();
        UpdateInterrupt();
    }

    /// <summary>A break comes in: a byte of 0 with the break bit, behind what waits in the FIFO. In loopback the wire is cut.</summary>
    internal void Break()
    {
        if (!IsLoopback) Receive(0, UartLineStatus.Break);
    }

    internal void Save(StateWriter to)
    {
        to.Add("interrupt-enable", (ulong)_enabled);
        to.Add("line-control", (ulong)_lineControl);
        to.Add("modem-control", (ulong)_modemControl);
        to.Add("modem-status", (ulong)_modemStatus);
        to.Add("scratch", (ulong)_scratch);
        to.Add("divisor", (long)_divisor);
        to.Add("trigger", (long)_trigger);
        to.Add("fifos", _fifosOn);
        to.Add("overrun", _overrun);
        to.Add("transmitter-empty-pending", _transmitterEmptyPending);
        to.Add("received", [.. _receive.SelectMany(received => new[] { received.Value, (byte)received.Errors })]);
        to.Add("transmit", _transmit.ToArray());
    }

    internal void Restore(StateReader from)
    {
        _enabled = (UartInterrupts)from.UInt64("interrupt-enable", (ulong)UartInterrupts.All);
        _lineControl = (UartLineControl)from.UInt64("line-control", byte.MaxValue);
        _modemControl = (UartModemControl)from.UInt64("modem-control", (ulong)UartModemControl.All);
        _modemStatus = (UartModemStatus)from.UInt64("modem-status", byte.MaxValue);
        _scratch = (byte)from.UInt64("scratch", byte.MaxValue);
        _divisor = (ushort)from.Int32("divisor", 0, ushort.MaxValue);
        _trigger = from.Int32("trigger", 1, Uart16550.FifoSize);
        _fifosOn = from.Boolean("fifos");
        _overrun = from.Boolean("overrun");
        _transmitterEmptyPending = from.Boolean("transmitter-empty-pending");
        byte[] received = from.Bytes("received", FifoDepth * ReceivedBytes);
        if (received.Length % ReceivedBytes != 0) throw from.Wrong("received", "ends in the middle of a byte with its errors");
        _receive.Clear();
        for (int i = 0; i < received.Length; i += ReceivedBytes)
            _receive.Enqueue(new Received(received[i], (UartLineStatus)received[i + 1] & UartLineStatus.Errors));
        _transmit.Refill(from.Bytes("transmit", FifoDepth));
    }

    /// <summary>The wire was restored too: the guest sees this process's line, and a change of the carrier is reported.</summary>
    internal void GoOn()
    {
        SetModemLines(ModemLines());
        Look();
    }

    internal byte Read(int register)
    {
        switch (register)
        {
            case UartRegister.Data when DivisorLatchOpen:
                return (byte)_divisor;
            case UartRegister.Data:
                return TakeReceived();
            case UartRegister.InterruptEnable when DivisorLatchOpen:
                return (byte)(_divisor >> 8);
            case UartRegister.InterruptEnable:
                return (byte)_enabled;
            case UartRegister.InterruptId:
                return TakeInterruptId();
            case UartRegister.LineControl:
                return (byte)_lineControl;
            case UartRegister.ModemControl:
                return (byte)_modemControl;
            case UartRegister.LineStatus:
                return TakeLineStatus();
            case UartRegister.ModemStatus:
                UartModemStatus status = _modemStatus;
                _modemStatus &= UartModemStatus.Lines;
                UpdateInterrupt();
                return (byte)status;
            default:
                return _scratch;
        }
    }

    internal void Write(int register, byte value)
    {
        switch (register)
        {
            case UartRegister.Data when DivisorLatchOpen:
                _divisor = (ushort)((_divisor & 0xff00) | value);
                break;
            case UartRegister.Data:
                Transmit(value);
                break;
            case UartRegister.InterruptEnable when DivisorLatchOpen:
                _divisor = (ushort)((_divisor & 0x00ff) | (value << 8));
                break;
            case UartRegister.InterruptEnable:
                EnableInterrupts((UartInterrupts)value & UartInterrupts.All);
                break;
            case UartRegister.FifoControl:
                ControlFifos(value);
                break;
            case UartRegister.LineControl:
                ControlLine((UartLineControl)value);
                break;
            case UartRegister.ModemControl:
                ControlModem((UartModemControl)value & UartModemControl.All);
                break;
            // The status registers are written in factory tests only.
            case UartRegister.LineStatus:
            case UartRegister.ModemStatus:
                break;
            default:
                _scratch = value;
                break;
        }
    }

    private void EnableInterrupts(UartInterrupts enabled)
    {
        // Enabling the transmitter's interrupt while there is room raises it again, even if it was acknowledged before. The data sheet
        // does not say so, chips do it, and drivers test for it.
        if ((enabled & ~_enabled & UartInterrupts.TransmitterEmpty) != 0 && _transmit.Count == 0) _transmitterEmptyPending = true;
        _enabled = enabled;
        Refill();
        UpdateInterrupt();
    }

    private void ControlFifos(byte value)
    {
        UartFifoControl control = (UartFifoControl)value;
        bool on = (control & UartFifoControl.Enable) != 0;
        if (on != _fifosOn) control |= UartFifoControl.ClearReceive | UartFifoControl.ClearTransmit;
        else if (!on) return;
        _fifosOn = on;
        _trigger = !on ? 1 : (value >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 };
        if ((control & UartFifoControl.ClearReceive) != 0) _receive.Clear();
        if ((control & UartFifoControl.ClearTransmit) != 0 && _transmit.Count > 0)
        {
            _transmit.Skip(_transmit.Count);
            _transmitterEmptyPending = true;
        }
        Refill();
        UpdateInterrupt();
    }

    private void ControlLine(UartLineControl control)
    {
        bool breakStarts = (control & ~_lineControl & UartLineControl.SetBreak) != 0;
        _lineControl = control;
        if (breakStarts && IsLoopback) Receive(0, UartLineStatus.Break | UartLineStatus.Framing);
    }

    private void ControlModem(UartModemControl control)
    {
        _modemControl = control;
        SetModemLines(ModemLines());
        Refill();
        UpdateInterrupt();
    }

    /// <summary>The modem inputs: the host side's, or in loopback the chip's own outputs.</summary>
    private UartModemStatus ModemLines()
    {
        if (!IsLoopback) return wire.HasCarrier ? ConnectedLines : ConnectedLines & ~UartModemStatus.Carrier;
        UartModemStatus lines = UartModemStatus.None;
        if ((_modemControl & UartModemControl.RequestToSend) != 0) lines |= UartModemStatus.ClearToSend;
        if ((_modemControl & UartModemControl.DataTerminalReady) != 0) lines |= UartModemStatus.DataSetReady;
        if ((_modemControl & UartModemControl.Out1) != 0) lines |= UartModemStatus.Ring;
        if ((_modemControl & UartModemControl.Out2) != 0) lines |= UartModemStatus.Carrier;
        return lines;
    }

    private void SetModemLines(UartModemStatus lines)
    {
        UartModemStatus changed = (_modemStatus ^ lines) & UartModemStatus.Lines;
        // Of the ring only its end is reported.
        if ((lines & UartModemStatus.Ring) != 0) changed &= ~UartModemStatus.Ring;
        _modemStatus = lines | (_modemStatus & UartModemStatus.Changes) | (UartModemStatus)((int)changed >> 4);
    }

    private void Transmit(byte value)
    {
        // The line falls in between: on an edge-triggered one, the byte's own end of transmission is a new edge.
        _transmitterEmptyPending = false;
        UpdateInterrupt();
        if (IsLoopback) Receive(value, UartLineStatus.None);
        else if (_transmit.Count > 0 || !wire.TryTransmit(value)) Hold(value);
        if (_transmit.Count == 0) _transmitterEmptyPending = true;
        UpdateInterrupt();
    }

    /// <summary>Keeps a byte that the host has no room for.</summary>
    private void Hold(byte value)
    {
        if (_transmit.Count < FifoDepth) _transmit.Write([value]);
        else LostBytes++;
    }

    /// <summary>A byte comes in from the wire, whether there is room for it or not.</summary>
    private void Receive(byte value, UartLineStatus errors)
    {
        if (_receive.Count == FifoDepth)
        {
            _overrun = true;
            // A single register keeps the newer byte, a FIFO the older ones.
            if (!_fifosOn)
            {
                _receive.Clear();
                _receive.Enqueue(new Received(value, errors));
            }
        }
        else
        {
            _receive.Enqueue(new Received(value, errors));
        }
        UpdateInterrupt();
    }

    private byte TakeReceived()
    {
        byte value = _receive.TryDequeue(out Received received) ? received.Value : byte.MinValue;
        Refill();
        UpdateInterrupt();
        return value;
    }

    private UartLineStatus LineStatus()
    {
        UartLineStatus status = _transmit.Count == 0
            ? UartLineStatus.TransmitterHoldingEmpty | UartLineStatus.TransmitterEmpty
            : UartLineStatus.None;
        if (_overrun) status |= UartLineStatus.Overrun;
        if (_receive.TryPeek(out Received next)) status |= UartLineStatus.DataReady | next.Errors;
        if (_fifosOn && HasError()) status |= UartLineStatus.FifoError;
        return status;
    }

    private bool HasError()
    {
        foreach (Received received in _receive)
        {
            if (received.Errors != UartLineStatus.None) return true;
        }
        return false;
    }

    private byte TakeLineStatus()
    {
        UartLineStatus status = LineStatus();
        _overrun = false;
        if ((status & UartLineStatus.Errors & ~UartLineStatus.Overrun) != 0) ForgetErrorsOfNext();
        UpdateInterrupt();
        return (byte)status;
    }

    private void ForgetErrorsOfNext()
    {
        int count = _receive.Count;
        Received next = _receive.Dequeue();
        _receive.Enqueue(next with { Errors = UartLineStatus.None });
        for (int i = 1; i < count; i++) _receive.Enqueue(_receive.Dequeue());
    }

    /// <summary>The pending interrupt of the highest priority.</summary>
    private byte InterruptId()
    {
        if ((_enabled & UartInterrupts.LineStatus) != 0 && (LineStatus() & UartLineStatus.Errors) != 0) return UartInterruptId.LineStatus;
        if ((_enabled & UartInterrupts.ReceivedData) != 0 && _receive.Count > 0)
            return _receive.Count >= _trigger ? UartInterruptId.ReceivedData : UartInterruptId.CharacterTimeout;
        if ((_enabled & UartInterrupts.TransmitterEmpty) != 0 && _transmitterEmptyPending) return UartInterruptId.TransmitterEmpty;
        if ((_enabled & UartInterrupts.ModemStatus) != 0 && (_modemStatus & UartModemStatus.Changes) != 0)
            return UartInterruptId.ModemStatus;
        return UartInterruptId.None;
    }

    private byte TakeInterruptId()
    {
        byte id = InterruptId();
        if (id == UartInterruptId.TransmitterEmpty)
        {
            _transmitterEmptyPending = false;
            UpdateInterrupt();
        }
        return _fifosOn ? (byte)(id | UartInterruptId.FifosEnabled) : id;
    }

    private void UpdateInterrupt()
    {
        bool up = InterruptId() != UartInterruptId.None;
        if (up == _lineUp) return;
        _lineUp = up;
        if (up) interrupt.Assert(); else interrupt.Deassert();
    }

    /// <summary>Moves waiting input into the chip. In loopback the wire is cut: it waits.</summary>
    private void Refill()
    {
        if (IsLoopback) return;
        while (IsListening && _receive.Count < FifoDepth && wire.TryReceive(out byte value))
            _receive.Enqueue(new Received(value, UartLineStatus.None));
        if (wire.TryDropCarrier()) SetModemLines(ModemLines());
    }

    /// <summary>A byte of the receive FIFO with the errors it came with.</summary>
    private readonly record struct Received(byte Value, UartLineStatus Errors);
}
