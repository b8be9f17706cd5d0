using System.Text.Json;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>
/// Every package of a build, with those that it brings along, is the one that docs/packages.txt lists: its version and its bytes. The
/// packs that an SDK chooses by itself are outside (decision 174).
/// </summary>
public sealed class LockedPackagesTests
{
    /// <summary>The SDK's own, by its version: global.json has that.</summary>
    private static readonly string[] OfSdk = ["Microsoft.NET.ILLink.Tasks/", "runtime.linux-x64.Microsoft.DotNet.ILCompiler/", "Microsoft.DotNet.ILCompiler/"];

    private static string Page => RepositoryTree.PathOf("docs", "packages.txt");

    [Fact]
    public void Every_package_is_the_one_that_was_looked_at()
    {
        SortedDictionary<string, string> found = new(StringComparer.Ordinal);
        foreach (string assets in Directory.GetFiles(RepositoryTree.PathOf("artifacts", "obj"), "project.assets.json", SearchOption.AllDirectories))
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(assets));
            foreach (JsonProperty library in document.RootElement.GetProperty("libraries").EnumerateObject())
            {
                if (library.Value.GetProperty("type").GetString() != "package" || OfSdk.Any(library.Name.StartsWith)) continue;
                found[library.Name] = library.Value.GetProperty("sha512").GetString()!;
            }
        }
        Assert.NotEmpty(found);
        string[] lines = [.. found.Select(package => $"{package.Key} {package.Value}")];
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_PACKAGES") is not null) File.WriteAllLines(Page, lines);
        string[] known = File.ReadAllLines(Page);
        string[] strange = [.. lines.Except(known)];
        Assert.True(strange.Length == 0, "not in docs/packages.txt, or with other bytes (VMM_ACCEPT_PACKAGES=1 takes them over; look at them first):\n"
            + string.Join('\n', strange));
    }
}
