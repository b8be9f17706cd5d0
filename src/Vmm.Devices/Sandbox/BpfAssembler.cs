namespace Vmm.Devices.Sandbox;

/// <summary>A place in a program that jumps go to; it is marked after the jumps to it.</summary>
internal sealed class BpfLabel
{
    internal int At { get; set; } = -1;
}

/// <summary>Writes classic BPF programs for seccomp(2): loads of 32-bit words of struct seccomp_data, jumps forward, results.</summary>
internal sealed class BpfAssembler
{
    /// <summary>
    /// BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_K with BPF_JEQ, BPF_JGE, BPF_JSET and BPF_JA; BPF_RET | BPF_K (bpf_common.h).
    /// </summary>
    private const ushort LoadWord = 0x20, JumpEqual = 0x15, JumpAtLeast = 0x35, JumpAnyBit = 0x45, JumpAlways = 0x05, Result = 0x06;

    private readonly List<(ushort Code, uint Operand, BpfLabel? IfTrue, BpfLabel? IfFalse)> _code = [];

    /// <summary>Loads a word of what the filter looks at.</summary>
    internal BpfAssembler Load(uint offset) => Add(LoadWord, offset, null, null);

    /// <summary>Jumps by whether the word is a value; null goes on with the next instruction.</summary>
    internal BpfAssembler Equal(uint value, BpfLabel? ifTrue, BpfLabel? ifFalse) => Add(JumpEqual, value, ifTrue, ifFalse);

    /// <summary>Jumps by whether the word is a value or a larger one.</summary>
    internal BpfAssembler AtLeast(uint value, BpfLabel? ifTrue, BpfLabel? ifFalse) => Add(JumpAtLeast, value, ifTrue, ifFalse);

    /// <summary>Jumps by whether the word has any of some bits.</summary>
    internal BpfAssembler AnyBit(uint bits, BpfLabel? ifTrue, BpfLabel? ifFalse) => Add(JumpAnyBit, bits, ifTrue, ifFalse);

    /// <summary>Jumps over any number of instructions.</summary>
    internal BpfAssembler Jump(BpfLabel to) => Add(JumpAlways, 0, to, null);

    /// <summary>Ends the program.</summary>
    internal BpfAssembler Return(uint result) => Add(Result, result, null, null);

    /// <summary>What comes next is where jumps to a label go.</summary>
    internal BpfAssembler Mark(BpfLabel label)
    {
        label.At = _code.Count;
        return this;
    }

    /// <summary>The program.</summary>
    /// <exception cref="InvalidOperationException">A jump goes back, nowhere, or over more than 255 instructions.</exception>
    internal BpfInstruction[] Assemble() =>
    [
        .. _code.Select((each, i) => each.Code == JumpAlways
            ? new BpfInstruction(JumpAlways, 0, 0, checked((uint)(each.IfTrue!.At - i - 1)))
            : new BpfInstruction(each.Code, Distance(i, each.IfTrue), Distance(i, each.IfFalse), each.Operand)),
    ];

    private static byte Distance(int from, BpfLabel? to)
    {
        if (to is null) return 0;
        int distance = to.At - from - 1;
        return distance is >= 0 and <= byte.MaxValue ? (byte)distance
            : throw new InvalidOperationException($"a jump from instruction {from} to {to.At}: it goes forward, over at most 255");
    }

    private BpfAssembler Add(ushort code, uint operand, BpfLabel? ifTrue, BpfLabel? ifFalse)
    {
        _code.Add((code, operand, ifTrue, ifFalse));
        return this;
    }
}
