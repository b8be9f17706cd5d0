using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>The guest's driver of its 16550A console: interrupt-driven in both directions. On CPU 0.</summary>
/// <param name="port">Its first port.</param>
/// <param name="interactive">Whether a person types on it.</param>
/// <param name="columns">How wide the operator's terminal is now; 0 if that is not known.</param>
internal sealed class GuestConsole(ushort port, bool interactive, Func<int> columns)
{
    private const string Prompt = "guest> ";
    private const byte CtrlC = 0x03;

    /// <summary>Most bytes typed ahead; with that many the receiver's interrupt is off, and the bytes wait in the device.</summary>
    private const int TypedAheadMax = 4096;

    private const byte Divisor115200 = 1;
    private const byte EightBitsOneStop = 0x03;
    private const byte TriggerAt8 = 0x80;

    private readonly Queue<byte> _typed = new();
    private readonly ILineSource _lines = interactive ? new LineEditor(Prompt, ShellSyntax.Names, columns) : new LineAssembler();
    private readonly List<byte> _echo = [];
    private readonly byte[] _scratch = new byte[Uart16550.FifoSize];
    private UartInterrupts _enabled;
    private bool _transmitterEmpty;
    private bool _hungUp;
    private bool _readingLine;

    /// <summary>Whether a person types here.</summary>
    internal bool IsInteractive => interactive;

    /// <summary>Set by Ctrl-C while a command runs.</summary>
    internal bool AbortRequested { get; set; }

    /// <summary>Sets the port up: 115200 baud, 8 bits, FIFOs on, interrupts on.</summary>
    internal async ValueTask Start(GuestCpu cpu)
    {
        await Out(cpu, UartRegister.LineControl, (byte)UartLineControl.DivisorAccess);
        await Out(cpu, UartRegister.Data, Divisor115200);
        await Out(cpu, UartRegister.InterruptEnable, 0);
        await Out(cpu, UartRegister.LineControl, EightBitsOneStop);
        await Out(cpu, UartRegister.FifoControl,
            (byte)(UartFifoControl.Enable | UartFifoControl.ClearReceive | UartFifoControl.ClearTransmit) | TriggerAt8);
        await Out(cpu, UartRegister.ModemControl,
            (byte)(UartModemControl.DataTerminalReady | UartModemControl.RequestToSend | UartModemControl.Out2));
        _hungUp = !IsConnected(await In(cpu, UartRegister.ModemStatus));
        await Enable(cpu, UartInterrupts.ReceivedData | UartInterrupts.LineStatus | UartInterrupts.ModemStatus);
    }

    /// <summary>The console's interrupt.</summary>
    internal async ValueTask OnInterrupt(KernelCpu kernel)
    {
        GuestCpu cpu = kernel.Cpu;
        while (true)
        {
            byte id = (byte)(await In(cpu, UartRegister.InterruptId) & ~UartInterruptId.FifosEnabled);
            switch (id)
            {
                case UartInterruptId.None:
                    return;
                case UartInterruptId.LineStatus:
                    await In(cpu, UartRegister.LineStatus);
                    break;
                case UartInterruptId.ReceivedData or UartInterruptId.CharacterTimeout:
                    await Receive(cpu);
                    break;
                case UartInterruptId.TransmitterEmpty:
                    _transmitterEmpty = true;
                    await Enable(cpu, _enabled & ~UartInterrupts.TransmitterEmpty);
                    break;
                case UartInterruptId.ModemStatus:
                    _hungUp = !IsConnected(await In(cpu, UartRegister.ModemStatus));
                    break;
            }
        }
    }

    /// <summary>Prints text and waits until the port has taken it.</summary>
    internal async ValueTask Print(KernelCpu kernel, string text)
    {
        await Write(kernel, Encoding.UTF8.GetBytes(text));
    }

    /// <summary>Reads a line.</summary>
    /// <returns>Null at the end of the input.</returns>
    internal async ValueTask<string?> ReadLine(KernelCpu kernel)
    {
        _readingLine = true;
        string? line = await ReadTypedLine(kernel);
        _readingLine = false;
        return line;
    }

    private async ValueTask<string?> ReadTypedLine(KernelCpu kernel)
    {
        // What came up during the last command, or while the machine booted.
        await kernel.Kernel.DoDeferredWork(kernel);
        if (interactive) await Print(kernel, Prompt);
        while (true)
        {
            while (_typed.TryDequeue(out byte value))
            {
                LineEvent happened = _lines.Type(value, _echo);
                if (happened == LineEvent.None) continue;
                await FlushEcho(kernel);
                string line = _lines.TakeLine();
                if (happened == LineEvent.Line) return line;
                if (happened == LineEvent.End) return null;
                await Print(kernel, Prompt);
            }
            await FlushEcho(kernel);
            // There is room again for what waits in the device; its interrupt comes at once if something does.
            await Enable(kernel.Cpu, _enabled | UartInterrupts.ReceivedData);
            if (_hungUp && await IsDrained(kernel.Cpu)) return TakeLastLine();
            // The work may have seen interrupts of the console: what they brought comes first.
            if (!await kernel.Kernel.DoDeferredWork(kernel)) await kernel.WaitForInterrupt();
        }
    }

    /// <summary>Text without an end of line before the far side hung up is a line too.</summary>
    private string? TakeLastLine()
    {
        string line = _lines.TakeLine();
        return line.Length > 0 ? line : null;
    }

    private async ValueTask<bool> IsDrained(GuestCpu cpu) =>
        _typed.Count == 0 && ((UartLineStatus)await In(cpu, UartRegister.LineStatus) & UartLineStatus.DataReady) == 0;

    private async ValueTask FlushEcho(KernelCpu kernel)
    {
        if (_echo.Count == 0) return;
        byte[] echo = [.. _echo];
        _echo.Clear();
        await Write(kernel, echo);
    }

    private async ValueTask Receive(GuestCpu cpu)
    {
        while (((UartLineStatus)await In(cpu, UartRegister.LineStatus) & UartLineStatus.DataReady) != 0)
        {
            if (_typed.Count >= TypedAheadMax)
            {
                await Enable(cpu, _enabled & ~UartInterrupts.ReceivedData);
                return;
            }
            byte value = await In(cpu, UartRegister.Data);
            if (interactive && value == CtrlC && !_readingLine)
            {
                // For the command that runs. What was typed ahead of it was for after that, and goes too.
                AbortRequested = true;
                _typed.Clear();
                continue;
            }
            _typed.Enqueue(value);
        }
    }

    private async ValueTask Write(KernelCpu kernel, ReadOnlyMemory<byte> bytes)
    {
        GuestCpu cpu = kernel.Cpu;
        if (interactive) bytes = WithReturns(bytes.Span);
        while (bytes.Length > 0)
        {
            if (((UartLineStatus)await In(cpu, UartRegister.LineStatus) & UartLineStatus.TransmitterHoldingEmpty) == 0)
            {
                await WaitForTransmitter(kernel);
                continue;
            }
            int burst = Math.Min(bytes.Length, _scratch.Length);
            bytes.Span[..burst].CopyTo(_scratch);
            for (int i = 0; i < burst; i++) await Out(cpu, UartRegister.Data, _scratch[i]);
            bytes = bytes[burst..];
        }
    }

    /// <summary>A terminal that a person looks at wants a return before each new line.</summary>
    private static byte[] WithReturns(ReadOnlySpan<byte> text)
    {
        List<byte> bytes = new(text.Length + 8);
        foreach (byte value in text)
        {
            if (value == '\n') bytes.Add((byte)'\r');
            bytes.Add(value);
        }
        return [.. bytes];
    }

    private async ValueTask WaitForTransmitter(KernelCpu kernel)
    {
        _transmitterEmpty = false;
        await Enable(kernel.Cpu, _enabled | UartInterrupts.TransmitterEmpty);
        while (!_transmitterEmpty) await kernel.WaitForInterrupt();
    }

    private async ValueTask Enable(GuestCpu cpu, UartInterrupts enabled)
    {
        if (enabled == _enabled) return;
        _enabled = enabled;
        await Out(cpu, UartRegister.InterruptEnable, (byte)enabled);
    }

    private static bool IsConnected(byte modemStatus) => ((UartModemStatus)modemStatus & UartModemStatus.Carrier) != 0;

    private GuestLoad<byte> In(GuestCpu cpu, int register) => cpu.In8((ushort)(port + register));

    private GuestStore Out(GuestCpu cpu, int register, byte value) => cpu.Out8((ushort)(port + register), value);
}
