namespace Vmm.EndToEnd;

/// <summary>A command line that makes no sense: one sentence on standard error, exit code 2, no trace.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("run", "--vcpus", "0")]
    [InlineData("run", "--vcpus", "10000")]
    [InlineData("run", "--vcpus", "many")]
    [InlineData("run", "--memory", "0")]
    [InlineData("run", "--no-such-option")]
    [InlineData("run", "--disk", "image,wrong")]
    [InlineData("run", "--console", "pty,uds=s")]
    [InlineData("run", "--console", "pty", "--console", "pty,name=console")]
    [InlineData("run", "--balloon", "target=many")]
    [InlineData("run", "--balloon", "target=16777216")]
    [InlineData("run", "--balloon", "control=")]
    [InlineData("run", "--vcpus", "1\nvmm: all is well\u001b[2J")]
    [InlineData("@/dev/zero")]
    [InlineData("[suggest]", "run", "--=x")]
    [InlineData("run", "stray")]
    [InlineData("run", "--engine", "fastest")]
    [InlineData("run", "--rng", "perhaps")]
    [InlineData("run", "--vcpus", "1", "--vcpus", "1")]
    [InlineData("run", "--vcpus")]
    [InlineData("boot")]
    [InlineData("boot", "--kernel", "--vcpus", "2")]
    [InlineData("boot", "--kernel", "k", "--no-acpi", "--vcpus", "2")]
    [InlineData("serve")]
    [InlineData("bench")]
    [InlineData("bench", "no-such-device")]
    [InlineData("no-such-command")]
    [InlineData]
    public void Is_answered_by_one_sentence_and_exit_code_2(params string[] arguments)
    {
        VmmResult result = VmmProcess.Run(arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith("vmm: ", result.Error);
        Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", result.Error);
    }
}
