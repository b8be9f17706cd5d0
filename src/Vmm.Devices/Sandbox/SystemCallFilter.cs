namespace Vmm.Devices.Sandbox;

/// <summary>Makes a program for seccomp(2) of a table of rules.</summary>
internal static class SystemCallFilter
{
    internal const uint KillProcess = 0x80000000, LogAndAllow = 0x7ffc0000, Allow = 0x7fff0000;
    internal const uint NotPermitted = 0x00050000 | 1, NotImplemented = 0x00050000 | 38;

    /// <summary>struct seccomp_data: the number, the architecture, the instruction's address, six arguments of 64 bits.</summary>
    private const uint NumberOffset = 0, ArchitectureOffset = 4, ArgumentsOffset = 16, ArgumentBytes = 8, HighHalf = 4;

    /// <summary>So few are compared one after the other.</summary>
    private const int RulesInARow = 3;

    private const uint ArchitectureX64 = 0xc000003e;

    /// <summary>Calls of the x32 ABI have this bit: other code of the kernel for the same things.</summary>
    private const uint X32 = 0x40000000;

    /// <summary>The program for what is done with calls in a table; a call that is in none of its lines gets a result of its own.</summary>
    internal static BpfInstruction[] Assemble(IEnumerable<SystemCallRule> rules, uint rest) => Assemble(rules, rest, KillProcess);

    /// <summary>
    /// The program: the table's first rule, which is the most frequent, then the others by halving them. The kernel runs a program for
    /// each call that there is when it is laid, to remember those that depend on no argument.
    /// </summary>
    internal static BpfInstruction[] Assemble(IEnumerable<SystemCallRule> rules, SystemCallAction action)
    {
        uint kill = action == SystemCallAction.Log ? LogAndAllow : KillProcess;
        uint refuse = action switch
        {
            SystemCallAction.Kill => KillProcess,
            SystemCallAction.Log => LogAndAllow,
            _ => NotPermitted,
        };
        return Assemble(rules, refuse, kill);
    }

    private static BpfInstruction[] Assemble(IEnumerable<SystemCallRule> rules, uint refuse, uint kill)
    {
        BpfAssembler program = new();
        BpfLabel isOurs = new(), isX64 = new(), isForeign = new();
        program.Load(ArchitectureOffset).Equal(ArchitectureX64, isOurs, null).Return(KillProcess).Mark(isOurs)
            .Load(NumberOffset).AtLeast(X32, isForeign, isX64).Mark(isForeign).Return(KillProcess).Mark(isX64);
        SystemCallRule[] all = [.. rules];
        Add(program, all[0], refuse, kill);
        AddAnyOf(program, [.. all.Skip(1).OrderBy(rule => rule.Number)], refuse, kill);
        return program.Assemble();
    }

    private static void AddAnyOf(BpfAssembler program, ReadOnlySpan<SystemCallRule> sorted, uint refuse, uint kill)
    {
        if (sorted.Length <= RulesInARow)
        {
            foreach (SystemCallRule rule in sorted) Add(program, rule, refuse, kill);
            program.Return(refuse);
            return;
        }
        int middle = sorted.Length / 2;
        BpfLabel below = new(), others = new();
        program.AtLeast((uint)sorted[middle].Number, null, below).Jump(others).Mark(below);
        AddAnyOf(program, sorted[..middle], refuse, kill);
        program.Mark(others);
        AddAnyOf(program, sorted[middle..], refuse, kill);
    }

    private static void Add(BpfAssembler program, SystemCallRule rule, uint refuse, uint kill)
    {
        BpfLabel next = new(), refused = new();
        program.Equal((uint)rule.Number, null, next);
        foreach (Condition condition in rule.Conditions) Add(program, condition, refused);
        program.Return(rule.Verdict switch { Verdict.Allow => Allow, Verdict.Absent => NotImplemented, _ => kill });
        // Behind the conditions the accumulator has an argument: no other rule is looked at.
        program.Mark(refused);
        if (rule.Conditions.Length > 0) program.Return(refuse);
        program.Mark(next);
    }

    private static void Add(BpfAssembler program, Condition condition, BpfLabel refused)
    {
        uint low = ArgumentsOffset + (uint)condition.Argument * ArgumentBytes;
        program.Load(low);
        BpfLabel met = new();
        switch (condition)
        {
            case Condition.IsOneOf { Values: [.. var others, var last] }:
                foreach (uint value in others) program.Equal(value, met, null);
                program.Equal(last, met, refused);
                break;
            case Condition.HasNone { Bits: var bits }:
                program.AnyBit(bits, refused, met);
                break;
            case Condition.HasAll { Bits: var bits }:
                for (uint bit = 1; bit != 0; bit <<= 1) if ((bits & bit) != 0) program.AnyBit(bit, null, refused);
                break;
            case Condition.IsNull:
                program.Equal(0, null, refused).Load(low + HighHalf).Equal(0, met, refused);
                break;
            default:
                throw new InvalidOperationException($"no code for {condition}");
        }
        program.Mark(met);
    }
}
