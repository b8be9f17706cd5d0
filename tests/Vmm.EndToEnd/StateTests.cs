namespace Vmm.EndToEnd;

/// <summary><c>vmm state show</c>: a saved machine for people.</summary>
public sealed class StateTests
{
    private const string State = """
        {"version":1,"memory-bytes":4096,"devices":[{"version":1,"name":"vda","registers":{"version":2,"status":"0xf"}},{"version":1,"name":"\u001b[2Jrng0"}]}
        """;

    [Fact]
    public void A_directory_or_a_file_is_shown_as_a_tree()
    {
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("state.json"), State);
        string[] tree =
        [
            "memory-bytes  4096",
            "devices[0] 'vda'",
            "  name  vda",
            "  registers (version 2)",
            "    status  0xf",
            "devices[1] '\\u001b[2Jrng0'",
            "  name  \\u001b[2Jrng0",
        ];
        foreach (string path in (string[])[scratch.Path, scratch.PathOf("state.json")])
        {
            VmmResult shown = VmmProcess.Run("state", "show", path);
            Assert.Equal((0, ""), (shown.ExitCode, shown.Error));
            Assert.Equal(tree, shown.Output.TrimEnd().Split('\n'));
        }
    }

    [Fact]
    public void With_json_it_is_what_was_written()
    {
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("state.json"), State);
        VmmResult shown = VmmProcess.Run("state", "show", scratch.Path, "--json");
        Assert.Equal(0, shown.ExitCode);
        Assert.Equal(System.Text.Json.Nodes.JsonNode.Parse(State)!.ToJsonString(), System.Text.Json.Nodes.JsonNode.Parse(shown.Output)!.ToJsonString());
    }

    [Theory]
    [InlineData("not json", "is no saved state: ")]
    [InlineData(null, "Could not find file")]
    public void What_is_no_state_is_a_sentence(string? content, string complaint)
    {
        using ScratchDirectory scratch = new();
        if (content is not null) File.WriteAllText(scratch.PathOf("state.json"), content);
        VmmResult shown = VmmProcess.Run("state", "show", scratch.PathOf("state.json"));
        Assert.Equal((1, ""), (shown.ExitCode, shown.Output));
        Assert.Contains(complaint, shown.Error);
        Assert.DoesNotContain("   at ", shown.Error);
    }
}
