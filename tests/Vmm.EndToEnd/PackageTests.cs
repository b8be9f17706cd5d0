using System.IO.Compression;
using System.Reflection.Metadata;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>The packages as who refers to them gets them.</summary>
public sealed class PackageTests : IDisposable
{
    private static readonly string Configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));

    private readonly ScratchDirectory _scratch = new();

    public PackageTests()
    {
        foreach (string library in (string[])["Vmm.Events", "Vmm.Devices"])
            Shell.Run("dotnet", "pack", Repository.PathOf($"src/{library}"), "-c", Configuration, "--no-build", "--nologo",
                "-nodeReuse:false", "-o", _scratch.PathOf("feed"));
    }

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void The_package_of_the_reactor_brings_its_documentation_and_the_generator_of_handlers()
    {
        string[] files = Files("Vmm.Events.*.nupkg", out string description);
        Assert.Contains("lib/net10.0/Vmm.Events.dll", files);
        Assert.Contains("lib/net10.0/Vmm.Events.xml", files);
        Assert.Contains("analyzers/dotnet/cs/Vmm.Events.Generators.dll", files);
        Assert.Contains("buildTransitive/Vmm.Events.targets", files);
        Assert.Contains("README.md", files);
        Assert.Contains("icon.png", files);
        Assert.Contains("<icon>icon.png</icon>", description, StringComparison.Ordinal);
        Assert.Contains("<readme>README.md</readme>", description, StringComparison.Ordinal);
        Assert.Contains("<license type=\"expression\">MIT</license>", description, StringComparison.Ordinal);
        Assert.Contains("<releaseNotes>## ", description, StringComparison.Ordinal);
        Assert.Contains("<repository type=\"git\"", description, StringComparison.Ordinal);
        Assert.Contains("lib/net10.0/Vmm.Events.pdb", Files("Vmm.Events.*.snupkg", out _));
    }

    [Fact]
    public void A_shallow_clone_packs_with_a_stated_version_and_a_tag_its_own_version_with_the_address_of_the_forge()
    {
        // The last commit alone, without a tag: what a forge's CI has.
        string clone = _scratch.PathOf("clone");
        Shell.Run("git", "clone", "-q", "--depth", "1", "--no-tags", $"file://{Repository.Root}", clone);
        Shell.Run("git", "-C", clone, "remote", "set-url", "origin", "https://github.com/example/vmm.git");
        Assert.Matches(@"^0\.2\.0-dev(\.[0-9]+)?$", Pack("shallow"));

        Shell.Run("git", "-C", clone, "tag", "v3.1.4");
        Assert.Equal("3.1.4", Pack("tagged"));
        Files("Vmm.Events.*.nupkg", out string description, "tagged");
        Assert.Contains("<projectUrl>https://github.com/example/vmm</projectUrl>", description, StringComparison.Ordinal);
        Assert.Contains("<repository type=\"git\" url=\"https://github.com/example/vmm", description, StringComparison.Ordinal);
        string commit = Shell.Run("git", "-C", clone, "rev-parse", "HEAD").Trim();
        Assert.Contains($"https://raw.githubusercontent.com/example/vmm/{commit}/", SourceLinkOf("tagged"), StringComparison.Ordinal);

        string Pack(string output)
        {
            Shell.Run("dotnet", "pack", Path.Combine(clone, "src/Vmm.Events"), "-c", "Release", "--nologo", "-nodeReuse:false", "-p:RunAnalyzers=false",
                "-p:UseSharedCompilation=false", "-o", _scratch.PathOf(output));
            return Path.GetFileNameWithoutExtension(Assert.Single(Directory.GetFiles(_scratch.PathOf(output), "Vmm.Events.*.nupkg")))["Vmm.Events.".Length..];
        }
    }

    /// <summary>What a debugger reads in the symbols of where the sources are.</summary>
    private string SourceLinkOf(string directory)
    {
        // Portable PDB, "Source Link".
        Guid sourceLink = new("CC110556-A091-4D38-9FEC-25AB9A351A6A");
        using ZipArchive package = ZipFile.OpenRead(Assert.Single(Directory.GetFiles(_scratch.PathOf(directory), "*.snupkg")));
        using MemoryStream symbols = new();
        using (Stream packed = package.Entries.Single(entry => entry.FullName == "lib/net10.0/Vmm.Events.pdb").Open()) packed.CopyTo(symbols);
        symbols.Position = 0;
        using MetadataReaderProvider provider = MetadataReaderProvider.FromPortablePdbStream(symbols);
        MetadataReader reader = provider.GetMetadataReader();
        CustomDebugInformation information = reader.CustomDebugInformation.Select(reader.GetCustomDebugInformation)
            .Single(each => reader.GetGuid(each.Kind) == sourceLink);
        return Encoding.UTF8.GetString(reader.GetBlobBytes(information.Value));
    }

    [Fact]
    public void A_project_outside_the_repository_builds_on_the_packages_without_a_warning_and_runs()
    {
        string project = _scratch.PathOf("consumer"), version = Version();
        Directory.CreateDirectory(project);
        WriteFeed(project);
        File.WriteAllText(Path.Combine(project, "consumer.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <AnalysisLevel>latest-recommended</AnalysisLevel>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Vmm.Devices" Version="{version}" />
                <PackageReference Include="Microsoft.Extensions.Hosting" Version="{OutsideProject.VersionOf("Microsoft.Extensions.Hosting")}" />
              </ItemGroup>
            </Project>
            """);
        string image = _scratch.CreateImage("disk.img", 1 << 20);
        File.WriteAllText(Path.Combine(project, "Program.cs"), $$"""
            using Microsoft.Extensions.DependencyInjection;
            using Microsoft.Extensions.Hosting;
            using Vmm.Devices;
            using Vmm.Devices.Simulation;
            using Vmm.Devices.VhostUser;
            using Vmm.Events;

            using (ReactorThread thread = new())
            {
                thread.Start();
                TaskCompletionSource rung = new(TaskCreationOptions.RunContinuationsAsynchronously);
                thread.Remote.Post(_ => rung.SetResult());
                await rung.Task;
            }
            using (SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open("{{image}}"))).Start())
                Console.WriteLine($"simulated {guest.Queue(0).WantsKick}");
            HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
            builder.Services.AddVhostUserServer().AddVirtioBlock("disk0", "{{_scratch.PathOf("s")}}", disk => disk.Path = "{{image}}");
            builder.Services.AddHostedService<Ready>();
            await builder.Build().RunAsync();

            internal sealed class Ready(VhostUserServer server, IHostApplicationLifetime application) : BackgroundService
            {
                protected override Task ExecuteAsync(CancellationToken stoppingToken)
                {
                    Console.WriteLine($"serves {server.Backends[0].Device.Name}");
                    application.StopApplication();
                    return Task.CompletedTask;
                }
            }
            """);
        string output = Shell.Run("dotnet", "run", "--project", project, "-c", "Release");
        Assert.Contains("simulated ", output, StringComparison.Ordinal);
        Assert.Contains("serves disk0", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("vmm-device", "test")]
    [InlineData("vmm-host", "build")]
    public void A_project_that_a_template_makes_builds_and_passes_its_tests(string template, string command)
    {
        Shell.Run("dotnet", "pack", Repository.PathOf("tools/templates"), "-c", Configuration, "--nologo", "-nodeReuse:false",
            "-o", _scratch.PathOf("templates"));
        string hive = _scratch.PathOf("hive"), project = _scratch.PathOf("Beacon"), version = Version();
        Shell.Run("dotnet", "new", "install", Directory.GetFiles(_scratch.PathOf("templates"), "*.nupkg").Single(), "--debug:custom-hive", hive);
        Shell.Run("dotnet", "new", template, "-n", "Beacon", "-o", project, "--vmmVersion", version, "--debug:custom-hive", hive, "--no-update-check");
        WriteFeed(project);
        string output = Shell.Run("dotnet", command, project, "-c", "Release", "-nodeReuse:false", "-warnaserror");
        if (command == "test") Assert.Contains("Passed!", output, StringComparison.Ordinal);
    }

    /// <summary>A project in a directory restores what was packed here.</summary>
    private void WriteFeed(string directory)
    {
        string packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget/packages");
        File.WriteAllText(Path.Combine(directory, "nuget.config"), $"""
            <configuration>
              <config><add key="globalPackagesFolder" value="{_scratch.PathOf("packages")}" /></config>
              <fallbackPackageFolders><add key="usual" value="{packages}" /></fallbackPackageFolders>
              <packageSources><add key="feed" value="{_scratch.PathOf("feed")}" /></packageSources>
            </configuration>
            """);
    }

    private string Version() =>
        Path.GetFileNameWithoutExtension(Directory.GetFiles(_scratch.PathOf("feed"), "Vmm.Devices.*.nupkg").Single())["Vmm.Devices.".Length..];

    private string[] Files(string pattern, out string description, string directory = "feed")
    {
        using ZipArchive package = ZipFile.OpenRead(Assert.Single(Directory.GetFiles(_scratch.PathOf(directory), pattern)));
        using StreamReader specification =
            new(package.Entries.Single(entry => entry.FullName.EndsWith(".nuspec", StringComparison.Ordinal)).Open());
        description = specification.ReadToEnd();
        return [.. package.Entries.Select(entry => entry.FullName)];
    }
}
