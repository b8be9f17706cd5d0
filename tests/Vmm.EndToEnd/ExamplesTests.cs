namespace Vmm.EndToEnd;

/// <summary>Each program of docs/examples, started as a reader starts it.</summary>
public sealed class ExamplesTests
{
    private static readonly string Program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Vmm.Examples",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "Vmm.Examples.dll"));

    /// <summary>What each prints, as far as it is the same in every run.</summary>
    private static readonly Dictionary<string, string[]> Printed = new()
    {
        ["async-disk"] = ["verify vda 42 ok", "the guest powered off"],
        ["echo-server"] = ["sent hello, got hello"],
        ["file-copy"] = ["copied 1048576 bytes"],
        ["first-reactor"] = ["2 handlers ran, due, kicked"],
        ["four-event-device"] =
        [
            "idle: 1 event is watched", "active: 3 events are watched", "transmitted abc, received abc", "reset: 1 event is watched",
        ],
        ["hosted-machine"] = ["vda, 1 queues", "mailbox, 1 queues", "posted"],
        ["own-backend"] = ["verify vda 42 ok", "the guest powered off"],
        ["own-operation"] = [": answered"],
        ["relay"] = ["3 kicks, 3 calls", "the peer hung up: nothing is watched"],
        ["reload"] = ["loading", "2 requests, 1 load"],
        ["saved-device"] = ["1 + 2 + 3 = 6", "+ 10 in another device = 16"],
    };

    public static TheoryData<string> Names => new(Printed.Keys);

    [Theory, MemberData(nameof(Names))]
    public void An_example_runs_and_prints_what_it_did(string name)
    {
        VmmResult result = Run("dotnet", Program, name);
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Equal("", result.Error);
        foreach (string line in Printed[name]) Assert.Contains(line, result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_of_the_examples_names_each_and_how_it_is_started()
    {
        VmmResult list = Run("dotnet", "run", "--no-build", "-c", Configuration, "--project", Repository.PathOf("docs/examples"));
        Assert.Equal((0, "", $"examples: {string.Join(' ', Printed.Keys.Order(StringComparer.Ordinal))}"), (list.ExitCode, list.Error, list.Output.Trim()));
        string page = File.ReadAllText(Repository.PathOf("docs/examples/README.md"));
        Assert.All(Printed.Keys, name => Assert.Contains($"`{name}`", page));
        Assert.Contains("dotnet run --project docs/examples -- echo-server", page, StringComparison.Ordinal);
        Assert.Equal(1, Run("dotnet", Program, "no-example").ExitCode);
    }

    private static string Configuration => Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));

    private static VmmResult Run(params string[] command)
    {
        using VmmProcess process = VmmProcess.Of(command);
        return process.WaitForExit();
    }
}
