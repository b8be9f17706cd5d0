namespace Vmm.Events.Tests.Support;

/// <summary>Tests that count on descriptor numbers, or take them all, run when no other test does.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class DescriptorNumbers
{
    public const string Name = "descriptor numbers";
}
