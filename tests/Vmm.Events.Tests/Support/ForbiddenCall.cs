using System.Runtime.InteropServices;

namespace Vmm.Events.Tests.Support;

/// <summary>
/// Runs something on a thread on which the kernel refuses one system call, as a container's seccomp profile or a full table does
/// (seccomp(2)).
/// </summary>
internal static unsafe partial class ForbiddenCall
{
    internal const uint IoUringSetup = 425;
    internal const uint IoUringRegister = 427;
    internal const uint EpollCtl = 233;

    private const int SetNoNewPrivileges = 38;
    private const int SetSeccomp = 22;
    private const int ModeFilter = 2;
    private const ushort LoadWordAbsolute = 0x20;
    private const ushort JumpIfEqual = 0x15;
    private const ushort Return = 0x06;
    private const uint Allow = 0x7fff_0000;
    private const uint Refuse = 0x0005_0000;
    private const uint CallAt = 0;
    private const uint SecondArgumentAt = 24;

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
    internal static void On(uint callNumber, Action action) => OnThread(() =>
    {
        Forbid(callNumber, Errno.NotPermitted);
        action();
    });

    /// <summary>
    /// Runs an action on a thread of its own, which may <see cref="Forbid"/> itself something; what it throws is thrown here.
    /// </summary>
    internal static void OnThread(Action action)
    {
        Exception? failure = null;
        Thread thread = new(() => failure = Record.Exception(action));
        thread.Start();
        thread.Join();
        if (failure is not null) throw new InvalidOperationException("on the thread with the forbidden call", failure);
    }

    /// <summary>From now on the kernel answers a call of this thread with an error.</summary>
    /// <param name="callNumber">Which call.</param>
    /// <param name="answer">What it says.</param>
    /// <param name="secondArgument">Only with this as its second argument; null for any.</param>
    internal static void Forbid(uint callNumber, Errno answer, uint? secondArgument = null)
    {
        Instruction* instructions = stackalloc Instruction[6];
        ushort length = 0;
        instructions[length++] = new Instruction(LoadWordAbsolute, 0, 0, CallAt);
        instructions[length++] = new Instruction(JumpIfEqual, 0, (byte)(secondArgument is null ? 1 : 3), callNumber);
        if (secondArgument is { } second)
        {
            instructions[length++] = new Instruction(LoadWordAbsolute, 0, 0, SecondArgumentAt);
            instructions[length++] = new Instruction(JumpIfEqual, 0, 1, second);
        }
        instructions[length++] = new Instruction(Return, 0, 0, Refuse | (uint)answer);
        instructions[length++] = new Instruction(Return, 0, 0, Allow);
        Program program = new() { Length = length, Instructions = instructions };
        Assert.Equal(0, Control(SetNoNewPrivileges, 1, null, 0, 0));
        Assert.Equal(0, Control(SetSeccomp, ModeFilter, &program, 0, 0));
    }
}
