using System.Reflection;
using System.Text;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>
/// The page <c>docs/hostile-guest.md</c>: every test below this namespace that says where its attack comes from, as a row. It is made from the
/// tests; VMM_ACCEPT_HOSTILE=1 writes it anew.
/// </summary>
public sealed class HostilePage
{
    private const string Accept = "VMM_ACCEPT_HOSTILE";

    [Fact]
    public void The_page_of_hostile_entries_is_what_the_tests_say()
    {
        string path = RepositoryTree.PathOf("docs", "hostile-guest.md");
        string page = Write();
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(path, page);
        string accepted = File.Exists(path) ? File.ReadAllText(path) : "";
        Assert.True(page == accepted, $"docs/hostile-guest.md does not list the tests as they are: run this test with {Accept}=1");
    }

    private static string Write()
    {
        StringBuilder page = new();
        page.Append($"""
            # The hostile guest

            Each row is a test that passes: what a guest tries, against which devices, on which rings, what comes of it, and where the attack comes from.
            *Needs reset* means: the fault is counted, told once, and the queue gives nothing more until the driver has reset the device; then it works.
            *All* are {string.Join(", ", DeviceBatteryTests.Devices.Keys)}. Wherever there is a reactor a row holds under both pollers, and beside
            the device under attack there is another guest's on the same reactor that is asked whether it noticed anything. Rows of *the queue of any* are about
            the ring that every device has, below devices and reactors.

            This page is made from the tests that have a `Source` trait and held by one of them (`HostilePage`, see tests/README.md). A number of a
            public bug stands here only where a public source says that it is that bug.

            """);
        foreach (Type suite in Suites())
        {
            page.Append($"\n## {Sentence(suite.Name)}\n\n| entry | devices | rings | outcome | source |\n|---|---|---|---|---|\n");
            foreach (MethodInfo test in Entries(suite))
                page.Append($"| {Sentence(test.Name)} | {Devices(test)} | {Rings(test)} | {Trait(test, "Outcome") ?? "as it says"} | {Source(test)} |\n");
        }
        return page.ToString();
    }

    private static IEnumerable<Type> Suites() =>
        from type in typeof(HostilePage).Assembly.GetTypes()
        where type.IsPublic && Entries(type).Any()
        orderby type.Name
        select type;

    private static IEnumerable<MethodInfo> Entries(Type suite) =>
        suite.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly).Where(method => Source(method) is not null).OrderBy(method => method.Name, StringComparer.Ordinal);

    private static string? Source(MethodInfo test) => Trait(test, "Source");

    private static string? Trait(MemberInfo member, string name) =>
        member.GetCustomAttributes<TraitAttribute>().FirstOrDefault(trait => trait.Name == name)?.Value;

    private static string Devices(MethodInfo test) =>
        Trait(test, "Device") ?? Trait(test.DeclaringType!, "Device") ?? (test.GetParameters().Any(parameter => parameter.ParameterType == typeof(HostileCase)) ? "all" : "the queue of any");

    /// <summary>A test that takes a ring's shape runs on all of them; else its name tells, and a split ring is the rule.</summary>
    private static string Rings(MethodInfo test)
    {
        ParameterInfo[] parameters = test.GetParameters();
        if ((Trait(test, "Rings") ?? Trait(test.DeclaringType!, "Rings")) is { } rings) return rings;
        if (parameters.Any(parameter => parameter.ParameterType == typeof(RingShape) || parameter.ParameterType == typeof(HostileCase) || parameter.Name == "packed"))
            return "split, packed";
        return test.Name.Contains("packed", StringComparison.OrdinalIgnoreCase) ? "packed" : "split";
    }

    private static string Sentence(string name)
    {
        if (name.Contains('_')) return name.Replace('_', ' ');
        string words = string.Concat(name.Select((letter, i) => i > 0 && char.IsUpper(letter) ? $" {char.ToLowerInvariant(letter)}" : $"{letter}"));
        return words.EndsWith(" tests", StringComparison.Ordinal) ? words[..^" tests".Length] : words;
    }
}
