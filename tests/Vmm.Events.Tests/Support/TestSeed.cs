using System.Globalization;

namespace Vmm.Events.Tests.Support;

/// <summary>What a random test starts from: a seed of its own, or that of VMM_SEED, which replays it.</summary>
internal static class TestSeed
{
    /// <summary>The seed, printed beside the test that runs.</summary>
    internal static int Take()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("VMM_SEED"), CultureInfo.InvariantCulture, out int given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"VMM_SEED={seed}");
        return seed;
    }
}
