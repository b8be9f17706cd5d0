namespace Vmm.Tests;

/// <summary>
/// Tests that run when no other does: those that count the descriptors or the memory of the process, or take them all, and those that start
/// processes, which hold every descriptor open from their fork to their exec.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Alone
{
    public const string Name = "alone";
}
