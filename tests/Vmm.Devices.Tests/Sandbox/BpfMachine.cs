using Vmm.Devices.Native;

namespace Vmm.Devices.Tests;

/// <summary>Runs filters as the kernel does, over a call that was not made.</summary>
internal static class BpfMachine
{
    /// <summary>What a program says to a call.</summary>
    internal static uint Run(BpfInstruction[] program, int number, ulong[] arguments, uint architecture = 0xc000003e)
    {
        uint[] words = new uint[16];
        (words[0], words[1]) = ((uint)number, architecture);
        for (int i = 0; i < arguments.Length; i++)
            (words[4 + 2 * i], words[5 + 2 * i]) = ((uint)arguments[i], (uint)(arguments[i] >> 32));
        uint accumulator = 0;
        for (int at = 0; ; at++)
        {
            BpfInstruction now = program[at];
            switch (now.Code)
            {
                case 0x20: accumulator = words[now.Operand / 4]; break;
                case 0x15: at += accumulator == now.Operand ? now.IfTrue : now.IfFalse; break;
                case 0x35: at += accumulator >= now.Operand ? now.IfTrue : now.IfFalse; break;
                case 0x45: at += (accumulator & now.Operand) != 0 ? now.IfTrue : now.IfFalse; break;
                case 0x05: at += (int)now.Operand; break;
                case 0x06: return now.Operand;
                default: throw new InvalidOperationException($"instruction {at} has the code 0x{now.Code:x}");
            }
        }
    }
}
