namespace Vmm.Devices;

// The chip in another process: registers, FIFOs, and the bytes that wait on both ends.
public sealed partial class Uart16550 : ISavedState
{
    private const int ReceivedBytes = 2;

    /// <inheritdoc/>
    void ISavedState.Save(StateWriter to)
    {
        lock (_lock)
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
            to.Add("output", _output.ToArray());
            to.Add("input", _input.ToArray());
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// What came from this process's host meanwhile follows what was saved, and its line is the one the guest sees: a change of the carrier
    /// is reported.
    /// </remarks>
    void ISavedState.Restore(StateReader from)
    {
        HostNeeds needs;
        lock (_lock)
        {
            _enabled = (UartInterrupts)from.UInt64("interrupt-enable", (ulong)UartInterrupts.All);
            _lineControl = (UartLineControl)from.UInt64("line-control", byte.MaxValue);
            _modemControl = (UartModemControl)from.UInt64("modem-control", (ulong)UartModemControl.All);
            _modemStatus = (UartModemStatus)from.UInt64("modem-status", byte.MaxValue);
            _scratch = (byte)from.UInt64("scratch", byte.MaxValue);
            _divisor = (ushort)from.Int32("divisor", 0, ushort.MaxValue);
            _trigger = from.Int32("trigger", 1, FifoSize);
            _fifosOn = from.Boolean("fifos");
            _overrun = from.Boolean("overrun");
            _transmitterEmptyPending = from.Boolean("transmitter-empty-pending");
            byte[] received = from.Bytes("received", FifoDepth * ReceivedBytes);
            if (received.Length % ReceivedBytes != 0) throw from.Wrong("received", "ends in the middle of a byte with its errors");
            _receive.Clear();
            for (int i = 0; i < received.Length; i += ReceivedBytes)
                _receive.Enqueue(new Received(received[i], (UartLineStatus)received[i + 1] & UartLineStatus.Errors));
            _transmit.Refill(from.Bytes("transmit", FifoDepth));
            _output.Refill(from.Bytes("output", OutputBacklogMax));
            byte[] input = from.Bytes("input", InputBacklogMax);
            byte[] meanwhile = _input.ToArray();
            _input = new CircularBytes(Math.Max(InputBacklogMax, input.Length + meanwhile.Length));
            _input.Write(input);
            _input.Write(meanwhile);
            _inputHeld = _input.Room == 0;
            _carrierLost = _inputEnded && _input.Count == 0;
            SetModemLines(ModemLines());
            Refill();
            UpdateInterrupt();
            needs = TakeHostNeeds();
        }
        Notify(needs);
    }
}
