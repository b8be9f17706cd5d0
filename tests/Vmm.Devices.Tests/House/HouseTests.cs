using System.Reflection;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>The rules of the house for this library.</summary>
public sealed class HouseTests() : HouseRules(Library, ["Native", "Memory", "Sockets", "Kvm/KvmRunArea.cs", "VhostUser/SignalQueue.cs"], PublicForAReason)
{
    private static readonly Assembly Library = typeof(VirtioDevice).Assembly;

    private static readonly Dictionary<string, string> PublicForAReason = new()
    {
        ["BatteryFailedException"] = "what a test framework shows of a failed battery",
        ["BootException"] = "what a kernel that cannot be loaded throws",
        ["ConsoleDevice"] = "a device that is made in C#, as the other devices are",
        ["ConsoleSpec"] = "a device by its description, as the other devices are",
        ["DeviceEvents"] = "the events of a log, for the application that gets it",
        ["DeviceSpecException"] = "what a description that makes no sense throws",
        ["DiskImageException"] = "what an image that cannot be opened throws",
        ["EntropyDevice"] = "a device that is made in C#, as the other devices are",
        ["EntropySpec"] = "a device by its description, as the other devices are",
        ["EntropySource"] = "the kernel as a source, for a source of one's own to build on",
        ["FaultyBackend"] = "a disk for the tests of a guest or a backend of one's own",
        ["KvmUnavailableException"] = "what a machine throws where there is no KVM",
        ["NetworkException"] = "what a network that cannot be opened throws",
        ["RawImage"] = "the backend of a file, for a disk that is made in C#",
        ["VirtioFeatures"] = "the bits that the features of a host are put together of",
    };

    private static string ArchitecturePage => File.ReadAllText(RepositoryTree.PathOf("docs", "architecture.md"));

    [Fact]
    public void Devices_knows_events_and_no_tool() =>
        Assert.Equal(["Vmm.Events"], Library.GetReferencedAssemblies().Select(reference => reference.Name!)
            .Where(name => name.StartsWith("Vmm", StringComparison.OrdinalIgnoreCase)));

    [Fact]
    public void Each_lock_has_a_row_in_docs_architecture() =>
        AssertNone(LockTable.Differences(ArchitecturePage, LibrarySources.Of("Vmm.Events"), LibrarySources.Of(Project)));

    [Fact]
    public void A_lock_without_a_row_and_a_row_without_a_lock_are_found()
    {
        const string code = "class C { readonly Lock _a = new(); object _b = new(); void M(C other) { lock (other._b) { } } }";
        const string page = "| lock | guards | held by |\n|---|---|---|\n| `C._b`, `C._gone` | things | threads |\n";
        Assert.Equal(
            ["docs/architecture.md does not say what the lock C._a guards", "docs/architecture.md lists the lock C._gone, which no source takes"],
            LockTable.Differences(page, LibrarySources.Compile("Rule", [("C.cs", code)])));
    }

    [Fact]
    public void The_walks_of_docs_architecture_are_short_and_name_what_there_is()
    {
        IReadOnlyList<Walk> walks = Walk.All(ArchitecturePage);
        Assert.Equal(["A kick", "A buffer", "An MMIO exit", "A vhost-user message", "A command-line option"], walks.Select(walk => walk.Name));
        AssertNone(walks.SelectMany(walk => walk.Failures()));
    }

    [Fact]
    public void A_walk_that_is_long_or_names_what_is_gone_is_found()
    {
        const string page = """
            **A dream.** It begins.
            1. `src/Vmm.Events/Reactor/Reactor.cs` (`Dispose`, `Awake`): it ends.
            2. `src/Gone.cs` (`Run`): it goes.
            3. `src/Vmm.Events/Reactor/Reactor.cs`: it has no member.
            4. `src/Vmm.Events/Reactor/IReactor.cs` (`Add`): it is there.
            5. `src/Vmm.Events/Reactor/Interest.cs` (`Kick`): it is one too many.
            """;
        Assert.Equal(
            [
                "A dream: 5 steps; a walk has at most 4",
                "A dream: src/Vmm.Events/Reactor/Reactor.cs has no 'Awake'",
                "A dream: src/Gone.cs is not there",
                "A dream: src/Vmm.Events/Reactor/Reactor.cs names no member: say in brackets which to read",
            ],
            Walk.All(page).SelectMany(walk => walk.Failures()));
    }

    [Fact]
    public void Only_the_runner_starts_and_stops_queues()
    {
        MethodBase[] lifeOfQueues =
        [
            .. CallGraph.MethodsOf(typeof(QueueContext), "Start", "Stop", "Discard"),
            .. CallGraph.MethodsOf(typeof(VirtioDevice), "Begin", "End", "ServedBy"),
            .. CallGraph.MethodsOf(typeof(VirtQueue), "TryCreate"),
        ];
        Assert.Equal(7, lifeOfQueues.Length);
        string[] callers = [.. CallGraph.CallersOf(Library, lifeOfQueues).Select(type => type.Name).Distinct()];
        Assert.Equal([nameof(DeviceRunner)], callers);
    }

    [Fact]
    public void Only_the_host_makes_transports_of_a_machine_and_only_transports_make_runners()
    {
        Assert.Equal([nameof(DeviceHost), nameof(SimulatedGuest)], MakersOf(typeof(VirtioMmioTransport)));
        Assert.Equal([nameof(VhostUserRings), nameof(VirtioMmioTransport)], MakersOf(typeof(DeviceRunner)));

        static string[] MakersOf(Type type) =>
            [.. CallGraph.CallersOf(Library, [.. CallGraph.ConstructorsOf(type)]).Select(maker => maker.Name).Distinct().Order(StringComparer.Ordinal)];
    }
}
