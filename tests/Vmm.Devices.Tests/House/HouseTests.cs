using System.Reflection;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>The rules of the house, held on the source and on what came of it.</summary>
public sealed class HouseTests
{
    private const string Project = "Vmm.Devices";
    private static readonly Assembly Library = typeof(VirtioDevice).Assembly;

    [Fact]
    public void Devices_knows_events_and_no_tool() =>
        Assert.Equal(["Vmm.Events"], Library.GetReferencedAssemblies().Select(reference => reference.Name!)
            .Where(name => name.StartsWith("Vmm", StringComparison.OrdinalIgnoreCase)));

    [Fact]
    public void A_kernel_call_is_a_library_import_in_native() => AssertNone(SourceRules.MisplacedImports(Project));

    [Fact]
    public void Unsafe_code_stands_in_native_and_memory_only() => AssertNone(SourceRules.MisplacedUnsafe(Project, "Native", "Memory"));

    [Fact]
    public void Unsafe_code_says_why_it_is_sound() => AssertNone(SourceRules.Unexplained(Project));

    [Fact]
    public void Tests_that_start_processes_run_alone() => AssertNone(SourceRules.NotAlone("Vmm.Devices.Tests"));

    [Fact]
    public void The_public_api_is_the_one_that_was_accepted() =>
        ApiSnapshot.Check(Library, "tests", "Vmm.Devices.Tests", "House", "PublicApi.Vmm.Devices.txt");

    private static void AssertNone(IEnumerable<string> violations) => Assert.True(!violations.Any(), string.Join("\n", violations));
}
