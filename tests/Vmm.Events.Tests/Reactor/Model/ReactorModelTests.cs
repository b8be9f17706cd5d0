using FsCheck;
using FsCheck.Fluent;
using Microsoft.FSharp.Core;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Model;

/// <summary>Random sequences of add, modify, remove, fire and turn, with handlers that do the same and throw. VMM_SEED replays.</summary>
public abstract class ReactorModelTests(ITestOutputHelper output) : ReactorSuite
{
    private const int Steps = 40;

    /// <summary>How many, each with a reactor of its own.</summary>
    protected virtual int Sequences => 10_000;

    [Fact]
    public void Random_sequences_agree_with_the_model()
    {
        ulong seed = ulong.TryParse(Environment.GetEnvironmentVariable("VMM_SEED"), out ulong given) ? given : (ulong)Random.Shared.NextInt64();
        output.WriteLine($"VMM_SEED={seed}");

        Gen<Step> step =
            from kind in Gen.Frequency(
                (3, Gen.Constant(StepKind.Add)), (2, Gen.Constant(StepKind.Modify)), (1, Gen.Constant(StepKind.Remove)),
                (5, Gen.Constant(StepKind.Fire)), (3, Gen.Constant(StepKind.SetPlan)), (4, Gen.Constant(StepKind.Turn)))
            from source in Gen.Choose(0, ReactorAgainstModel.Sources - 1)
            from other in Gen.Choose(0, ReactorAgainstModel.Sources - 1)
            from plan in Gen.Elements(Enum.GetValues<Plan>())
            from flavour in Gen.Elements(Enum.GetValues<Flavour>())
            from raised in Gen.Elements(true, false)
            select new Step(kind, source, other, plan, flavour, raised);
        Arbitrary<Step[]> sequences = Arb.From(step.ArrayOf(Steps), Shrink);

        // On a failure FsCheck names the shortest sequence it found beside its own seed.
        Config config = Config.QuickThrowOnFailure.WithMaxTest(Sequences).WithName($"VMM_SEED={seed}")
            .WithReplay(FSharpOption<Replay>.Some(new Replay(new Rnd(seed, 1), FSharpOption<int>.None)));
        Prop.ForAll(sequences, Agrees).Check(config);
    }

    private void Agrees(Step[] steps)
    {
        using ReactorAgainstModel pair = new(Options);
        foreach (Step step in steps) pair.Apply(step);
        pair.End();
    }

    /// <summary>A sequence with one step less.</summary>
    private static IEnumerable<Step[]> Shrink(Step[] steps) =>
        Enumerable.Range(0, steps.Length).Select(left => steps.Where((_, i) => i != left).ToArray());
}

public sealed class ReactorModelOnEpollTests(ITestOutputHelper output) : ReactorModelTests(output);

public sealed class ReactorModelOnIoRingTests(ITestOutputHelper output) : ReactorModelTests(output)
{
    protected override PollerKind Poller => PollerKind.IoRing;

    // The kernel takes far longer to make a ring, and to end it, than an epoll set.
    protected override int Sequences => 1_000;
}
