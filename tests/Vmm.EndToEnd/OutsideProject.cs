using System.Xml.Linq;

namespace Vmm.EndToEnd;

/// <summary>A project that has nothing of this checkout but the libraries, as they were built.</summary>
internal static class OutsideProject
{
    /// <summary>Publishes the sources of a folder as one native file.</summary>
    /// <param name="folder">Has the sources; gets the project.</param>
    /// <param name="name">The program's name.</param>
    /// <param name="properties">Further properties of the project.</param>
    /// <returns>The program.</returns>
    internal static string Publish(string folder, string name, string properties)
    {
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string Built(string project) => Repository.PathOf($"artifacts/bin/{project}/{configuration}/{project}.dll");
        string project = Path.Combine(folder, $"{name}.csproj"), output = Path.Combine(folder, "out");
        File.WriteAllText(project, $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
                <InvariantGlobalization>true</InvariantGlobalization>
                <PublishAot>true</PublishAot>
                {properties}
              </PropertyGroup>
              <ItemGroup>
                <Reference Include="{Built("Vmm.Events")}" />
                <Reference Include="{Built("Vmm.Devices")}" />
                <Analyzer Include="{Built("Vmm.Events.Generators")}" />
                <PackageReference Include="Microsoft.Extensions.Hosting" Version="{VersionOf("Microsoft.Extensions.Hosting")}" />
              </ItemGroup>
            </Project>
            """);
        foreach (string file in (string[])["Directory.Build.props", "Directory.Packages.props"])
            File.WriteAllText(Path.Combine(folder, file), "<Project />");
        Shell.Run("dotnet", "publish", project, "-c", "Release", "-r", "linux-x64", "--nologo", "-v", "quiet",
            "-p:UseSharedCompilation=false", "-nodeReuse:false", "-o", output);
        return Path.Combine(output, name);
    }

    /// <summary>The version of a package that this checkout uses.</summary>
    internal static string VersionOf(string package) => XDocument.Load(Repository.PathOf("Directory.Packages.props"))
        .Descendants("PackageVersion").First(version => version.Attribute("Include")!.Value == package).Attribute("Version")!.Value;
}
