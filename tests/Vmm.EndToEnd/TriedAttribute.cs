namespace Vmm.EndToEnd;

/// <summary>A front-end or firmware that was not written here, which the test (or each test of the class) runs: a row of docs/front-ends.md.</summary>
/// <param name="program">Its name, and what of it is used.</param>
/// <param name="package">Debian's package.</param>
/// <param name="version">What the package's version begins with, without its epoch.</param>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
internal sealed class TriedAttribute(string program, string package, string version) : Attribute
{
    internal string Program => program;

    internal string Package => package;

    internal string Version => version;

    /// <summary>The devices it drives.</summary>
    public required string Devices { get; init; }

    /// <summary>What comes of it.</summary>
    public required string Result { get; init; }

    /// <summary>How to run it by hand.</summary>
    public required string HowTo { get; init; }
}
