using System.Reflection;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>
/// The table of <c>docs/front-ends.md</c>: every test or class of tests that has a <see cref="TriedAttribute"/>, as a row.
/// VMM_ACCEPT_FRONT_ENDS=1 writes it anew; what stands below the table is written by hand.
/// </summary>
public sealed class FrontEndsPage
{
    private const string Accept = "VMM_ACCEPT_FRONT_ENDS";

    private static IEnumerable<(MemberInfo Test, TriedAttribute Tried)> Rows =>
        from type in typeof(FrontEndsPage).Assembly.GetTypes()
        from member in (MemberInfo[])[type, .. type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)]
        let tried = member.GetCustomAttribute<TriedAttribute>()
        where tried is not null
        orderby tried.Program, Name(member)
        select (member, tried);

    [Fact]
    public void The_page_of_front_ends_is_what_the_tests_say()
    {
        string path = Repository.PathOf("docs/front-ends.md"), page = File.ReadAllText(path);
        int below = page.IndexOf("\n## ", StringComparison.Ordinal);
        string wanted = Table() + page[below..];
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(path, wanted);
        Assert.True(File.ReadAllText(path) == wanted, $"docs/front-ends.md does not list the tests as they are: run this test with {Accept}=1");
    }

    [Fact]
    public void The_versions_are_those_that_are_installed()
    {
        foreach ((MemberInfo test, TriedAttribute tried) in Rows)
        {
            (int code, string version) = Shell.Try("dpkg-query", "-W", "-f", "${Version}", tried.Package);
            if (code != 0) continue;
            version = version[(version.IndexOf(':', StringComparison.Ordinal) + 1)..];
            Assert.True(version.StartsWith(tried.Version, StringComparison.Ordinal),
                $"{Name(test)} runs version {version} of {tried.Package}, and the page says {tried.Version}: change its attribute, and accept the page");
        }
    }

    [Fact]
    public void Every_package_is_one_that_the_tests_install()
    {
        string script = File.ReadAllText(Repository.PathOf("tools/test.sh"));
        Assert.All(Rows, row => Assert.Contains(row.Tried.Package, script, StringComparison.Ordinal));
    }

    private static string Table()
    {
        StringBuilder page = new("""
            # Front-ends and firmware tried

            Programs that were not written here, against `vmm serve`, in Debian 12's versions. Each row is a test that passes; `./tools/test.sh` installs what it
            needs. The table is made from the tests that have a `Tried` attribute, and one of them compares it (`FrontEndsPage`, see tests/README.md).

            | program | version | device | result | test | how to run |
            |---|---|---|---|---|---|

            """);
        foreach ((MemberInfo test, TriedAttribute tried) in Rows)
            page.Append($"| {tried.Program} | {tried.Version} | {tried.Devices} | {tried.Result} | `{Name(test)}` | {tried.HowTo} |\n");
        return page.ToString();
    }

    private static string Name(MemberInfo test) => test is Type type ? type.Name : $"{test.DeclaringType!.Name}.{test.Name}";
}
