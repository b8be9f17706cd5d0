using System.Diagnostics;
using System.IO.Compression;

namespace Vmm.EndToEnd;

/// <summary>The packages as who refers to them gets them.</summary>
public sealed class PackageTests
{
    [Fact]
    public void The_package_of_the_reactor_brings_its_documentation_and_the_generator_of_handlers()
    {
        using ScratchDirectory scratch = new();
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string[] arguments = ["pack", Repository.PathOf("src/Vmm.Events"), "-c", configuration, "--no-build", "--nologo", "-nodeReuse:false", "-o", scratch.PathOf("")];
        using Process process = Process.Start(new ProcessStartInfo("dotnet", arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        using ZipArchive package = ZipFile.OpenRead(Assert.Single(Directory.GetFiles(scratch.PathOf(""), "Vmm.Events.*.nupkg")));
        string[] files = [.. package.Entries.Select(entry => entry.FullName)];
        Assert.Contains("lib/net10.0/Vmm.Events.dll", files);
        Assert.Contains("lib/net10.0/Vmm.Events.xml", files);
        Assert.Contains("analyzers/dotnet/cs/Vmm.Events.Generators.dll", files);
    }
}
