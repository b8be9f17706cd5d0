using System.Globalization;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Fuzz;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>
/// A target of <c>tools/fuzz.sh</c> as a test: every input that is kept for it, then random ones for VMM_FUZZ_SECONDS (default 2) from VMM_SEED (default any).
/// A class for each, so that they run beside each other.
/// </summary>
public abstract class FuzzTests(string name, ITestOutputHelper output)
{
    private readonly FuzzTarget _target = FuzzTargets.Find(name) ?? throw new ArgumentException($"there is no target '{name}'");

    /// <summary>What a run that is not blind has met.</summary>
    protected virtual IEnumerable<string> MustMeet => ["requests", "faults"];

    /// <summary>Executions after which a run that has not met all of it is blind.</summary>
    protected virtual long ExecutionsToMeet => 1_000;

    [Fact]
    public void Inputs_that_are_kept_break_nothing()
    {
        using FuzzRun run = new(_target);
        run.RunCorpus();
        Assert.Equal(_target.Corpus.Count(), run.Executions);
    }

    [Fact]
    public void Random_inputs_break_nothing()
    {
        using FuzzRun run = new(_target);
        long seed = FromEnvironment("VMM_SEED", Random.Shared.NextInt64());
        run.RunSeeds(seed, TimeSpan.FromSeconds(FromEnvironment("VMM_FUZZ_SECONDS", 2)));
        output.WriteLine($"{run.Executions} executions from VMM_SEED={seed}, {run.Rate:N0} a second; "
            + string.Join(", ", run.Tally.Counts.Select(each => $"{each.Key} {each.Value}")));
        if (run.Executions > ExecutionsToMeet) Assert.All(MustMeet, what => Assert.True(run.Tally.Counts.ContainsKey(what), $"no {what} at all: the target is blind"));
    }

    private static long FromEnvironment(string name, long standard) =>
        long.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out long value) ? value : standard;
}

public sealed class RingFuzzTests(ITestOutputHelper output) : FuzzTests("ring", output)
{
    /// <summary>Every fault a ring can have.</summary>
    protected override IEnumerable<string> MustMeet =>
        Enum.GetValues<GuestFaultKind>().Where(kind => kind is not (GuestFaultKind.None or GuestFaultKind.Request)).Select(kind => kind.ToString());
}

public sealed class RegisterFuzzTests(ITestOutputHelper output) : FuzzTests("registers", output);

public sealed class BlockFuzzTests(ITestOutputHelper output) : FuzzTests("block", output);

public sealed class BlockRingFuzzTests(ITestOutputHelper output) : FuzzTests("block-ring", output);

public sealed class EntropyFuzzTests(ITestOutputHelper output) : FuzzTests("rng", output);

public sealed class ConsoleFuzzTests(ITestOutputHelper output) : FuzzTests("console", output);

public sealed class BalloonFuzzTests(ITestOutputHelper output) : FuzzTests("balloon", output);

public sealed class VsockFuzzTests(ITestOutputHelper output) : FuzzTests("vsock", output)
{
    protected override IEnumerable<string> MustMeet => ["requests", "faults", "accepted"];
}

public sealed class VsockStreamFuzzTests(ITestOutputHelper output) : FuzzTests("vsock-streams", output)
{
    protected override IEnumerable<string> MustMeet => ["streams", "bytes"];
}

public sealed class NetFuzzTests(ITestOutputHelper output) : FuzzTests("net", output);

public sealed class SerialFuzzTests(ITestOutputHelper output) : FuzzTests("serial", output)
{
    protected override IEnumerable<string> MustMeet => ["steps", "steps over a socket"];
}

public sealed class BusFuzzTests(ITestOutputHelper output) : FuzzTests("bus", output)
{
    protected override IEnumerable<string> MustMeet => ["steps"];
}

public sealed class KernelFuzzTests(ITestOutputHelper output) : FuzzTests("kernel", output)
{
    protected override IEnumerable<string> MustMeet => ["loaded", "refused"];
}

public sealed class CommandLineFuzzTests(ITestOutputHelper output) : FuzzTests("command-line", output)
{
    protected override IEnumerable<string> MustMeet => ["refused", "helped", "run", "boot", "serve", "bench"];

    /// <summary>One line in 600 is a whole line of boot: of so many, none is once in e²⁵ runs.</summary>
    protected override long ExecutionsToMeet => 15_000;
}

public sealed class ConfigFuzzTests(ITestOutputHelper output) : FuzzTests("config", output)
{
    protected override IEnumerable<string> MustMeet => ["refused", "run", "boot", "serve", "read by both", "refused by both"];

    /// <summary>One file in 400 is one of serve that makes sense.</summary>
    protected override long ExecutionsToMeet => 10_000;
}

public sealed class ApiFuzzTests(ITestOutputHelper output) : FuzzTests("api", output)
{
    protected override IEnumerable<string> MustMeet => ["200", "201", "202", "204", "400", "404", "409", "415", "422"];

    /// <summary>One request in some hundred adds a device that makes sense.</summary>
    protected override long ExecutionsToMeet => 3_000;
}

public sealed class WebSocketFuzzTests(ITestOutputHelper output) : FuzzTests("web-socket", output)
{
    protected override IEnumerable<string> MustMeet => ["closed", "refused", "gone", "bytes"];
}

public sealed class StateFuzzTests(ITestOutputHelper output) : FuzzTests("state", output)
{
    protected override IEnumerable<string> MustMeet => ["refused", "restored"];
}

public sealed class VhostUserFuzzTests(ITestOutputHelper output) : FuzzTests("vhost-user", output)
{
    protected override IEnumerable<string> MustMeet => ["messages"];
}

public sealed class NbdFuzzTests(ITestOutputHelper output) : FuzzTests("nbd", output)
{
    protected override IEnumerable<string> MustMeet => ["agreed", "refused", "replies", "Ok", "IoError"];
}

/// <summary>What the process holds is counted, so these run alone.</summary>
[Collection(Alone.Name)]
public sealed class FuzzLeakTests
{
    public static TheoryData<string> Targets => [.. FuzzTargets.All.Select(target => target.Name)];

    [Theory, MemberData(nameof(Targets))]
    public void A_target_leaves_no_descriptor_and_no_memory_behind(string name)
    {
        Execute(name);
        // What is left behind is left behind each time; what the runtime opens once is not.
        string? left = "";
        for (int tries = 0; left is not null && tries < 3; tries++)
        {
            Leaks leaks = new();
            Execute(name);
            left = leaks.Find();
        }
        Assert.Null(left);
    }

    [Fact]
    public void A_file_that_is_left_open_is_found_be_it_an_assembly()
    {
        string assembly = typeof(FuzzLeakTests).Assembly.Location, another = Path.GetTempFileName();
        Leaks leaks = new();
        FileStream[] open = [.. Enumerable.Range(0, 10).Select(_ => File.OpenRead(assembly)), File.OpenRead(another)];
        try
        {
            string? left = leaks.Find();
            Assert.Contains(assembly, left, StringComparison.Ordinal);
            Assert.Contains(another, left, StringComparison.Ordinal);
        }
        finally
        {
            Array.ForEach(open, file => file.Dispose());
        }
        File.Delete(another);
        Assert.Null(leaks.Find());
    }

    [Fact]
    public void A_directory_of_a_process_that_was_killed_goes_with_the_next_and_one_in_use_stays()
    {
        string below = Directory.CreateTempSubdirectory("vmm-sweep-").FullName;
        (string lives, FileStream held) = Scratch.Make(below);
        (string killed, FileStream gone) = Scratch.Make(below);
        File.WriteAllText(Path.Combine(killed, "socket"), "");
        gone.Dispose();
        using (held)
        {
            Scratch.Sweep(below);
            Assert.Equal([lives], Directory.GetDirectories(below));
        }
        Scratch.Sweep(below);
        Assert.Empty(Directory.GetDirectories(below));
        Directory.Delete(below);
    }

    [Fact]
    public void Every_target_is_a_test()
    {
        IEnumerable<Type> suites = typeof(FuzzTests).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(FuzzTests)));
        Assert.Equal(FuzzTargets.All.Count, suites.Count());
    }

    private static void Execute(string name)
    {
        using FuzzRun run = new(FuzzTargets.Find(name)!);
        run.RunSeeds(1, TimeSpan.MaxValue, count: FuzzRun.ExecutionsPerTarget + 1);
    }
}
