namespace Vmm.Devices;

/// <summary>
/// A PC's keyboard controller with no keyboard: what a kernel needs to find it, and its line to the processor's reset, which is how most of
/// them reboot. Mapped at port 0x60 for <see cref="RangeLength"/>: data at offset 0, command and status at offset 4. An access of several
/// bytes is one to each byte's port.
/// </summary>
/// <param name="onReset">Called on the vCPU's thread when the guest pulls the reset line. It must not wait for that vCPU.</param>
internal sealed class I8042Device(Action onReset) : IBusDevice, ISavedState
{
    /// <summary>Bytes of its range on the bus. The three ports in the middle belong to other chips of a PC and read as 0.</summary>
    public const ulong RangeLength = 5;

    private const ulong DataPort = 0;
    private const ulong CommandPort = 4;

    private const byte CommandReadConfig = 0x20;
    private const byte CommandWriteConfig = 0x60;
    private const byte CommandTestSecondPort = 0xa9;
    private const byte CommandSelfTest = 0xaa;
    private const byte CommandTestFirstPort = 0xab;
    private const byte CommandDisableFirstPort = 0xad;
    private const byte CommandEnableFirstPort = 0xae;
    private const byte CommandReadOutput = 0xd0;
    private const byte CommandWriteOutput = 0xd1;
    private const byte CommandPulseReset = 0xfe;

    private const byte SelfTestPassed = 0x55;
    private const byte PortTestPassed = 0x00;
    private const byte KeyboardAcknowledge = 0xfa;
    private const byte StatusOutputFull = 0x01;
    private const byte StatusSelfTested = 0x04;
    private const byte ConfigFirstPortDisabled = 0x10;
    private const byte OutputNotReset = 0x01;

    private readonly Lock _lock = new();
    private byte _config = ConfigFirstPortDisabled;
    private byte _output = OutputNotReset;
    private byte _pendingCommand;
    private byte _answer;
    private bool _hasAnswer;

    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++) data[i] = ReadPort(offset + (ulong)i);
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool reset = false;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++) reset |= WritePort(offset + (ulong)i, data[i]);
        }
        if (reset) onReset();
    }

    public override string ToString() => "i8042";

    void ISavedState.Save(StateWriter to)
    {
        lock (_lock)
        {
            to.Add("configuration", (ulong)_config);
            to.Add("output", (ulong)_output);
            to.Add("pending-command", (ulong)_pendingCommand);
            if (_hasAnswer) to.Add("answer", (ulong)_answer);
        }
    }

    void ISavedState.Restore(StateReader from)
    {
        lock (_lock)
        {
            _config = (byte)from.UInt64("configuration", byte.MaxValue);
            _output = (byte)from.UInt64("output", byte.MaxValue);
            _pendingCommand = (byte)from.UInt64("pending-command", byte.MaxValue);
            _hasAnswer = from.Has("answer");
            _answer = _hasAnswer ? (byte)from.UInt64("answer", byte.MaxValue) : byte.MinValue;
        }
    }

    private byte ReadPort(ulong port)
    {
        switch (port)
        {
            case CommandPort:
                return (byte)(StatusSelfTested | (_hasAnswer ? StatusOutputFull : 0));
            case DataPort:
                _hasAnswer = false;
                return _answer;
            default:
                return 0;
        }
    }

    /// <returns>Whether the machine is to be reset.</returns>
    private bool WritePort(ulong port, byte value) => port switch
    {
        CommandPort => Command(value),
        DataPort => TakeData(value),
        _ => false,
    };

    private bool Command(byte command)
    {
        _pendingCommand = 0;
        switch (command)
        {
            case CommandReadConfig:
                Answer(_config);
                break;
            case CommandReadOutput:
                Answer(_output);
                break;
            case CommandSelfTest:
                Answer(SelfTestPassed);
                break;
            case CommandTestFirstPort or CommandTestSecondPort:
                Answer(PortTestPassed);
                break;
            case CommandDisableFirstPort:
                _config |= ConfigFirstPortDisabled;
                break;
            case CommandEnableFirstPort:
                _config &= unchecked((byte)~ConfigFirstPortDisabled);
                break;
            case CommandWriteConfig or CommandWriteOutput:
                _pendingCommand = command;
                break;
            case CommandPulseReset:
                return true;
        }
        return false;
    }

    private bool TakeData(byte value)
    {
        byte command = _pendingCommand;
        _pendingCommand = 0;
        switch (command)
        {
            case CommandWriteConfig:
                _config = value;
                return false;
            case CommandWriteOutput:
                _output = value;
                return (value & OutputNotReset) == 0;
            default:
                // For the absent keyboard: acknowledged, so that the guest does not wait for an answer.
                Answer(KeyboardAcknowledge);
                return false;
        }
    }

    private void Answer(byte value)
    {
        _answer = value;
        _hasAnswer = true;
    }
}
