namespace Vmm.Devices.Sandbox;

/// <summary>What is done with a call.</summary>
internal enum Verdict
{
    /// <summary>It is carried out.</summary>
    Allow,
    /// <summary>It fails as on a kernel that does not have it, so that the C library takes another one.</summary>
    Absent,
    /// <summary>No code of ours can want it: the process ends.</summary>
    Kill,
}

/// <summary>A line of the table of system calls.</summary>
/// <param name="Name">The call, as its manual page has it.</param>
/// <param name="Number">Its number on x86-64.</param>
/// <param name="Verdict">What is done with it.</param>
/// <param name="Conditions">What its arguments must be for that; another call is refused.</param>
internal sealed record SystemCallRule(string Name, int Number, Verdict Verdict, params Condition[] Conditions);

/// <summary>What an argument of a call must be. The kernel looks at the low half of those that are no pointers.</summary>
internal abstract record Condition(int Argument)
{
    /// <summary>It is one of some values.</summary>
    internal static Condition OneOf(int argument, params uint[] values) => new IsOneOf(argument, values);

    /// <summary>It has none of some bits.</summary>
    internal static Condition Without(int argument, uint bits) => new HasNone(argument, bits);

    /// <summary>It has all of some bits.</summary>
    internal static Condition With(int argument, uint bits) => new HasAll(argument, bits);

    /// <summary>It is a null pointer: both halves are zero.</summary>
    internal static Condition Null(int argument) => new IsNull(argument);

    internal sealed record IsOneOf(int Argument, uint[] Values) : Condition(Argument);

    internal sealed record HasNone(int Argument, uint Bits) : Condition(Argument);

    internal sealed record HasAll(int Argument, uint Bits) : Condition(Argument);

    internal sealed record IsNull(int Argument) : Condition(Argument);
}
