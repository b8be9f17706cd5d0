namespace Vmm.Devices;

/// <summary>
/// A PC's keyboard controller with no keyboard: what a kernel needs to find it, and its line to the processor's reset, which is how most of
/// them reboot. Mapped at port 0x60 for <see cref="RangeLength"/>: data at offset 0, command and status at offset 4.
/// </summary>
/// <param name="onReset">Told that the guest pulled the reset line, on the vCPU's thread; it must not wait for that vCPU.</param>
public sealed class I8042Device(Action onReset) : IBusDevice
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

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        lock (_lock)
        {
            if (offset == CommandPort)
            {
                data[0] = (byte)(StatusSelfTested | (_hasAnswer ? StatusOutputFull : 0));
            }
            else if (offset == DataPort)
            {
                data[0] = _answer;
                _hasAnswer = false;
            }
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool reset = false;
        lock (_lock)
        {
            if (offset == CommandPort) reset = Command(data[0]);
            else if (offset == DataPort) reset = TakeData(data[0]);
        }
        if (reset) onReset();
    }

    /// <inheritdoc/>
    public override string ToString() => "i8042";

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
                // For the keyboard that is not there: acknowledged, so that nobody waits for it.
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
