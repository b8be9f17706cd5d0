using System.Diagnostics;
using System.Runtime.InteropServices;
using Vmm.Events.Native;
using Vmm.Tests.House;

namespace Vmm.Events.Tests.Native;

/// <summary>System call numbers and packed structures are those of one architecture: any other is refused before the first call.</summary>
[Collection(Alone.Name)]
public sealed class PlatformTests
{
    [Fact]
    public void This_machine_is_the_one_the_library_is_written_for()
    {
        Assert.Null(Platform.Refusal(OperatingSystem.IsLinux(), RuntimeInformation.ProcessArchitecture));
        Platform.ThrowIfForeign();
    }

    [Theory]
    [InlineData(true, Architecture.Arm64, "Arm64")]
    [InlineData(true, Architecture.X86, "X86")]
    [InlineData(true, Architecture.RiscV64, "RiscV64")]
    [InlineData(false, Architecture.X64, "Linux only")]
    public void Another_machine_is_refused_in_one_sentence_that_names_it(bool isLinux, Architecture architecture, string named)
    {
        string refusal = Platform.Refusal(isLinux, architecture)!;
        Assert.Contains(named, refusal, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refusal);
    }

    [Theory]
    [InlineData("linux-arm64", false)]
    [InlineData("win-x64", false)]
    [InlineData("linux-x64", true)]
    [InlineData("linux-musl-x64", true)]
    public void A_program_for_another_machine_is_refused_when_it_is_built(string runtime, bool isBuilt)
    {
        string targets = RepositoryTree.PathOf("src", "Vmm.Events", "build", "Vmm.Events.targets");
        string[] command = ["msbuild", targets, "-nologo", "-t:VmmCheckRuntimeIdentifier", $"-p:RuntimeIdentifier={runtime}"];
        using Process build = Process.Start(new ProcessStartInfo("dotnet", command) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        string said = build.StandardOutput.ReadToEnd();
        build.WaitForExit();
        Assert.Equal(isBuilt, build.ExitCode == 0);
        if (!isBuilt) Assert.Contains($"is built for {runtime}: build it for linux-x64", said, StringComparison.Ordinal);
    }
}
