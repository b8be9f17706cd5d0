using System.Reflection;
using Vmm.Tests.House;

namespace Vmm.Events.Tests.House;

/// <summary>The rules of the house for this library.</summary>
public sealed class HouseTests() : HouseRules(Library, ["Native", "Buffers", "Pollers", "Rings/Kernel", "Rings/RingMemory.cs", "Stacks", "Reactor/ThinPointer.cs"], PublicForAReason)
{
    private static readonly Assembly Library = typeof(Reactor).Assembly;

    private static readonly Dictionary<string, string> PublicForAReason = new()
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
    };

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
}
