using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>
/// A hostile front-end beside a good one, and a long time of good ones, by the tools that measure both: no request fails, the server lives and serves
/// the attacked disk to the next front-end, and nothing is left behind.
/// </summary>
public sealed class NeighbourTests
{
    [Fact]
    public void No_attack_of_a_front_end_costs_its_neighbour_a_request_or_leaves_anything_behind() => Run("compare", "neighbours", "--quick");

    [Fact, Trait("Long", "true")]
    public void Half_a_minute_of_each_attack_costs_a_neighbour_no_request_and_leaves_nothing_behind() => Run("compare", "neighbours");

    [Fact]
    public void Memory_and_descriptors_of_a_server_stay_flat_in_a_soak() => Run("soak", "--seconds", Seconds("10"));

    [Fact, Trait("Long", "true")]
    public void Memory_and_descriptors_of_a_server_stay_flat_in_a_long_soak() => Run("soak", "--seconds", Seconds("600"));

    /// <summary>VMM_SOAK_SECONDS makes both longer.</summary>
    private static string Seconds(string standard) => Environment.GetEnvironmentVariable("VMM_SOAK_SECONDS") ?? standard;

    private static void Run(params string[] arguments)
    {
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string tool = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Vmm.Benchmarks", configuration, "Vmm.Benchmarks.dll"));
        using Process process = Process.Start(new ProcessStartInfo("dotnet", [tool, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output + error.Result);
    }
}
