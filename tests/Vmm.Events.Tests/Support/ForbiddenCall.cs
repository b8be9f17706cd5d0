using System.Runtime.InteropServices;

namespace Vmm.Events.Tests.Support;

/// <summary>Runs something on a thread on which the kernel refuses one system call, as a container's seccomp profile does (seccomp(2)).</summary>
internal static unsafe partial class ForbiddenCall
{
    internal const uint IoUringSetup = 425;

    private const int SetNoNewPrivileges = 38;
    private const int SetSeccomp = 22;
    private const int ModeFilter = 2;
    private const ushort LoadWordAbsolute = 0x20;
    private const ushort JumpIfEqual = 0x15;
    private const ushort Return = 0x06;
    private const uint Allow = 0x7fff_0000;
    private const uint RefuseNotPermitted = 0x0005_0000 | 1;

    [StructLayout(LayoutKind.Sequential)]
    private struct Instruction(ushort code, byte jumpTrue, byte jumpFalse, uint operand)
    {
        internal ushort Code = code;
        internal byte JumpTrue = jumpTrue;
        internal byte JumpFalse = jumpFalse;
        internal uint Operand = operand;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Program
    {
        internal ushort Length;
        internal Instruction* Instructions;
    }

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Control(int option, nuint argument, void* pointer, nuint third, nuint fourth);

    /// <summary>Runs an action on a thread of its own that may not make a call; what it throws is thrown here.</summary>
    internal static void On(uint callNumber, Action action)
    {
        Exception? failure = null;
        Thread thread = new(() => failure = Record.Exception(() =>
        {
            Forbid(callNumber);
            action();
        }));
        thread.Start();
        thread.Join();
        if (failure is not null) throw new InvalidOperationException("on the thread with the forbidden call", failure);
    }

    private static void Forbid(uint callNumber)
    {
        Instruction* instructions = stackalloc Instruction[4];
        instructions[0] = new Instruction(LoadWordAbsolute, 0, 0, 0);
        instructions[1] = new Instruction(JumpIfEqual, 0, 1, callNumber);
        instructions[2] = new Instruction(Return, 0, 0, RefuseNotPermitted);
        instructions[3] = new Instruction(Return, 0, 0, Allow);
        Program program = new() { Length = 4, Instructions = instructions };
        Assert.Equal(0, Control(SetNoNewPrivileges, 1, null, 0, 0));
        Assert.Equal(0, Control(SetSeccomp, ModeFilter, &program, 0, 0));
    }
}
