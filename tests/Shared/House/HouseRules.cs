using System.Reflection;

namespace Vmm.Tests.House;

/// <summary>The rules of the house that both libraries keep, held on the source and on what came of it.</summary>
/// <param name="library">The library.</param>
/// <param name="unsafePlaces">Its folders and files that may have unsafe code.</param>
/// <param name="publicTypes">Its public types that nothing outside of it names yet, each with its reason.</param>
public abstract class HouseRules(Assembly library, string[] unsafePlaces, IReadOnlyDictionary<string, string> publicTypes)
{
    private protected string Project { get; } = library.GetName().Name!;

    [Fact]
    public void A_folder_names_the_folders_that_docs_architecture_lists() => AssertNone(FolderLayers.Differences(Project));

    [Fact]
    public void A_kernel_call_is_a_library_import_in_native() => AssertNone(SourceRules.MisplacedImports(Project));

    [Fact]
    public void Native_holds_calls_and_structures_only() => AssertNone(SourceRules.ObjectsAmongCalls(Project));

    [Fact]
    public void Unsafe_code_stands_where_memory_is_shared() => AssertNone(UnsafeFence.Breaches(Project, unsafePlaces));

    [Fact]
    public void No_public_member_takes_an_address_as_a_number() => AssertNone(SourceRules.RawAddresses(library));

    [Fact]
    public void Unsafe_code_says_why_it_is_sound() => AssertNone(SourceRules.Unexplained(Project));

    [Fact]
    public void Tests_that_start_processes_run_alone() => AssertNone(SourceRules.NotAlone($"{Project}.Tests"));

    [Fact]
    public void A_public_type_is_for_users_of_the_library_and_not_for_tests_alone() => AssertNone(PublicTypes.Differences(library, publicTypes));

    [Fact]
    public void The_public_api_is_the_one_that_was_accepted() =>
        ApiSnapshot.Check(library, "tests", $"{Project}.Tests", "House", $"PublicApi.{Project}.txt");

    private protected static void AssertNone(IEnumerable<string> violations) => Assert.True(!violations.Any(), string.Join("\n", violations));
}
