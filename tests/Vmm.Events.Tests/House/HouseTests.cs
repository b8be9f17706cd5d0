using System.Reflection;
using Vmm.Tests.House;

namespace Vmm.Events.Tests.House;

/// <summary>The rules of the house, held on the source and on what came of it.</summary>
public sealed class HouseTests
{
    private const string Project = "Vmm.Events";
    private static readonly Assembly Library = typeof(Reactor).Assembly;

    [Fact]
    public void Events_knows_nothing_of_devices()
    {
        Assert.DoesNotContain(Library.GetReferencedAssemblies(), reference => reference.Name!.StartsWith("Vmm.", StringComparison.Ordinal));
        Assert.DoesNotContain(RepositoryTree.SourcesBelow(RepositoryTree.PathOf("src", Project)),
            source => source.Text.Contains("Vmm.Devices", StringComparison.Ordinal));
    }

    [Fact]
    public void Events_shows_its_insides_to_tests_and_benchmarks_only() =>
        Assert.Equal(["Vmm.Benchmarks", "Vmm.Events.Tests"],
            Library.GetCustomAttributes<System.Runtime.CompilerServices.InternalsVisibleToAttribute>().Select(each => each.AssemblyName).Order());

    [Fact]
    public void A_folder_names_the_folders_that_docs_architecture_lists() => AssertNone(FolderLayers.Differences(Project));

    [Fact]
    public void A_row_that_names_a_folder_below_it_needs_a_reason()
    {
        const string page = """
            ### Folders of `src/Some`

            | folder | what it holds | may name |
            |---|---|---|
            | `A` | | `B`¹ |
            | `B` | | `A`, `C` |
            | `C` | | `A`, `B` |
            """;
        Assert.Equal(["the row of 'B' names 'C', which is not above it"], FolderLayers.OutOfOrder(page, "Some"));
    }

    [Fact]
    public void A_kernel_call_is_a_library_import_in_native() => AssertNone(SourceRules.MisplacedImports(Project));

    [Fact]
    public void Native_holds_calls_and_structures_only() => AssertNone(SourceRules.ObjectsAmongCalls(Project));

    [Fact]
    public void Unsafe_code_stands_where_memory_is_shared() =>
        AssertNone(UnsafeFence.Breaches(Project, "Native", "Buffers", "Pollers", "Rings/Kernel", "Rings/RingMemory.cs", "Stacks",
            "Reactor/ThinPointer.cs"));

    [Fact]
    public void No_public_member_takes_an_address_as_a_number() => AssertNone(SourceRules.RawAddresses(Library));

    [Fact]
    public void Unsafe_code_says_why_it_is_sound() => AssertNone(SourceRules.Unexplained(Project));

    [Fact]
    public void Tests_that_start_processes_run_alone() => AssertNone(SourceRules.NotAlone("Vmm.Events.Tests"));

    [Fact]
    public void A_public_type_is_for_users_of_the_library_and_not_for_tests_alone() => AssertNone(PublicTypes.Differences(Library, new Dictionary<string, string>
    {
        ["IPolledSource"] = "how a subscription takes part in polling, as the kicks of Vmm.Devices do",
        ["OnEventAttribute"] = "written as [OnEvent]",
        ["PidFd"] = "a handle that handlers take, as EventFd is",
        ["ReactorGroup"] = "several reactors of one host: DeviceHost and VhostUserServer have one",
        ["SignalFd"] = "a handle that handlers take, as EventFd is",
        ["TaskAbortedException"] = "what a task sees when its reactor ends",
        ["TaskDoorbell"] = "what a task waits for",
        ["TaskEventFd"] = "what a task waits for",
        ["TimerFd"] = "a handle that handlers take, as EventFd is",
    }));

    [Fact]
    public void The_public_api_is_the_one_that_was_accepted() =>
        ApiSnapshot.Check(Library, "tests", "Vmm.Events.Tests", "House", "PublicApi.Vmm.Events.txt");

    private static void AssertNone(IEnumerable<string> violations) => Assert.True(!violations.Any(), string.Join("\n", violations));
}
