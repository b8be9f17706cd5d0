using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// A serial port whose guest accesses registers in any order and width, or never reads, while the host floods it, reads or does not, sends
/// breaks and hangs up. In some executions the host side is a real socket carried by a reactor.
/// </summary>
internal sealed class SerialTarget : IFuzzTarget
{
    private const int StepsMax = 400;
    private const int TurnsToRest = 1_000;

    private static readonly byte[] Flood = new byte[Uart16550.InputBacklogMax * 2];

    private readonly Tally _tally;
    private readonly Reactor _reactor = new(new ReactorOptions
    {
        Name = "serial",
        HandlerFailurePolicy = HandlerFailurePolicy.StopReactor
    });
    private readonly byte[] _taken = new byte[Uart16550.OutputBacklogMax * 2];

    internal SerialTarget(Tally tally) => _tally = tally;

    public void Run(FuzzInput input)
    {
        Uart16550 port = new(new NoLine(), registerStride: input.OneIn(4) ? 4 : 1);
        if (input.OneIn(8)) RunOverSocket(port, input);
        else RunBare(port, input);
        BrokenPromiseException.Unless(port.OutputBacklog <= Uart16550.OutputBacklogMax + Uart16550.FifoSize,
            $"{port.OutputBacklog} bytes of output wait");
        Prove(port);
    }

    public void Dispose() => _reactor.Dispose();

    private void RunBare(Uart16550 port, FuzzInput input)
    {
        port.Connect(() => { }, () => { });
        int steps = 0;
        for (; !input.IsSpent && steps < StepsMax; steps++)
        {
            switch (input.Next(8))
            {
                case 0: port.TryGiveInput(Flood.AsSpan(0, input.UInt16() % Flood.Length), out _); break;
                case 1: port.SkipOutput(port.PeekOutput(_taken.AsSpan(0, input.UInt16() % _taken.Length))); break;
                case 2 when input.OneIn(8): port.EndInput(); break;
                case 2: port.SendBreak(); break;
                default: Access(port, input); break;
            }
        }
        _tally.Add("steps", steps);
    }

    private void RunOverSocket(Uart16550 port, FuzzInput input)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using SerialBackend backend = new(port, _reactor.Remote, device, SerialOutput.To(device.Duplicate()));
        backend.RegisterInto(_reactor);
        int steps = 0;
        for (; !input.IsSpent && steps < StepsMax; steps++)
        {
            switch (input.Next(8))
            {
                case 0: StreamCalls.Write(host.Number, Flood.AsSpan(0, input.UInt16() % Flood.Length), out _); break;
                case 1: StreamCalls.Read(host.Number, _taken, out _); break;
                case 2 when input.OneIn(8): host.Dispose(); host = UnixSocket.Pair().A; break;
                case 2 or 3: _reactor.RunOnce(TimeSpan.Zero); break;
                default: Access(port, input); break;
            }
        }
        _tally.Add("steps over a socket", steps);
        Rest();
        backend.RemoveFrom(_reactor);
        host.Dispose();
        Rest();
    }

    private void Rest()
    {
        for (int turn = 0; _reactor.RunOnce(TimeSpan.Zero) > 0; turn++)
            BrokenPromiseException.Unless(turn < TurnsToRest, "the host side spins");
    }

    private static void Access(Uart16550 port, FuzzInput input)
    {
        Span<byte> data = stackalloc byte[input.Pick<int>([1, 1, 1, 2, 3, 4, 8])];
        ulong offset = input.OneIn(8) ? input.Interesting() : (ulong)input.Next((int)port.RangeLength);
        if (input.OneIn(2))
        {
            port.Read(offset, data);
            return;
        }
        input.Fill(data);
        for (int times = input.OneIn(8) ? input.Byte() * 16 : 1; times > 0; times--) port.Write(offset, data);
    }

    /// <summary>In loopback, with its FIFOs cleared, what goes out comes in.</summary>
    private static void Prove(Uart16550 port)
    {
        ulong stride = port.RangeLength / Uart16550.RegisterCount;
        byte[] one = [0];
        Write(UartRegister.LineControl, 0);
        Write(UartRegister.InterruptEnable, 0);
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Write(UartRegister.FifoControl, (byte)(UartFifoControl.Enable | UartFifoControl.ClearReceive | UartFifoControl.ClearTransmit));
        Write(UartRegister.Data, 0x5a);
        port.Read(UartRegister.LineStatus * stride, one);
        BrokenPromiseException.Unless(((UartLineStatus)one[0] & UartLineStatus.DataReady) != 0,
            $"no byte in loopback: line status 0x{one[0]:x2}");
        port.Read(UartRegister.Data * stride, one);
        BrokenPromiseException.Unless(one[0] == 0x5a, $"0x{one[0]:x2} in loopback, not 0x5a");

        void Write(int register, byte value)
        {
            one[0] = value;
            port.Write((ulong)register * stride, one);
        }
    }
}
