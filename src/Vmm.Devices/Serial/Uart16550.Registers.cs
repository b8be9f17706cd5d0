namespace Vmm.Devices;

// What each register does. All under the lock.
public sealed partial class Uart16550
{
    private byte ReadRegister(int register)
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

    private void WriteRegister(int register, byte value)
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
        if (!IsLoopback) return _carrierLost ? ConnectedLines & ~UartModemStatus.Carrier : ConnectedLines;
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
        else if (_transmit.Count == 0 && _output.Room > 0) _output.Write([value]);
        else if (_transmit.Count < FifoDepth) _transmit.Write([value]);
        else _lostBytes++;
        if (_transmit.Count == 0) _transmitterEmptyPending = true;
        UpdateInterrupt();
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
        if (up) _interrupt.Assert(); else _interrupt.Deassert();
    }
}
