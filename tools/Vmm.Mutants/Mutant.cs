namespace Vmm.Mutants;

/// <summary>One change of the source that a test should notice.</summary>
/// <param name="Id">Its number, which the environment variable names; from 1.</param>
/// <param name="File">The file, relative to the project.</param>
/// <param name="Line">The line, from 1.</param>
/// <param name="Change">What was changed: the source before and after.</param>
internal sealed record Mutant(int Id, string File, int Line, string Change)
{
    public override string ToString() => $"{File}:{Line} {Change}";
}
