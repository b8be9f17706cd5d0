using System.Reflection;

namespace Vmm.Tests.House;

/// <summary>Holds an assembly's public API against a checked-in text, so that a change of it is seen and meant.</summary>
internal static class ApiSnapshot
{
    private const string Accept = "VMM_ACCEPT_API";

    /// <param name="assembly">The library.</param>
    /// <param name="snapshot">The checked-in text, below the repository's root.</param>
    internal static void Check(Assembly assembly, params string[] snapshot)
    {
        string accepted = RepositoryTree.PathOf(snapshot);
        string now = PublicApi.Of(assembly);
        if (Environment.GetEnvironmentVariable(Accept) == "1")
        {
            File.WriteAllText(accepted, now);
            return;
        }
        string before = File.Exists(accepted) ? File.ReadAllText(accepted) : "";
        if (before == now) return;

        string received = RepositoryTree.PathOf("artifacts", "api", Path.GetFileNameWithoutExtension(accepted) + ".received.txt");
        Directory.CreateDirectory(Path.GetDirectoryName(received)!);
        File.WriteAllText(received, now);
        Assert.Fail($"""
            the public API of {assembly.GetName().Name} is not what {Path.GetRelativePath(RepositoryTree.Root, accepted)} says:
            {Difference(before, now)}
            If the change is meant, accept it: ./tools/accept-api.sh (or run this test with {Accept}=1). It is written to {received}.
            """);
    }

    private static string Difference(string before, string now)
    {
        const int linesMax = 40;
        string[] old = before.Split('\n'), fresh = now.Split('\n');
        IEnumerable<string> lines = old.Except(fresh).Select(line => $"- {line}").Concat(fresh.Except(old).Select(line => $"+ {line}"));
        return string.Join('\n', lines.Take(linesMax));
    }
}
