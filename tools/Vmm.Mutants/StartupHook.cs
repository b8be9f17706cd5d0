using System.Globalization;
using System.Reflection;

/// <summary>
/// Runs inside of a test program (DOTNET_STARTUP_HOOKS) in place of its own start: takes lines from standard input, each a mutant's number
/// and suites, runs the suites with that mutant on, and answers with a line. One process serves many mutants, because most of the time of a
/// short run is its start.
/// </summary>
internal static class StartupHook
{
    internal const string ProgramVariable = "VMM_MUTANT_PROGRAM";
    internal const string LibraryVariable = "VMM_MUTANT_LIBRARY";
    internal const string Answer = "vmm-mutants-answer ";

    public static void Initialize()
    {
        // Not for the programs that tests start.
        Environment.SetEnvironmentVariable("DOTNET_STARTUP_HOOKS", null);
        string program = Environment.GetEnvironmentVariable(ProgramVariable)!;
        Assembly tests = Assembly.LoadFrom(program);
        Type mutant = Assembly.LoadFrom(Environment.GetEnvironmentVariable(LibraryVariable)!).GetType("VmmMutant", throwOnError: true)!;
        FieldInfo active = mutant.GetField("Active", BindingFlags.Static | BindingFlags.NonPublic)!;
        byte[] hits = (byte[])mutant.GetField("Hits", BindingFlags.Static | BindingFlags.NonPublic)!.GetValue(null)!;
        TextWriter output = Console.Out;
        TextReader input = Console.In;
        while (input.ReadLine() is { } line)
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Array.Clear(hits);
            active.SetValue(null, int.Parse(words[0], CultureInfo.InvariantCulture));
            int code = Run(tests, words[1..]);
            active.SetValue(null, 0);
            string seen = words[0] == "0" ? string.Join(',', hits.Index().Where(each => each.Item != 0).Select(each => each.Index)) : "";
            output.WriteLine($"\n{Answer}{code} {seen}");
            output.Flush();
        }
        Environment.Exit(0);
    }

    private static int Run(Assembly tests, string[] suites)
    {
        string[] arguments =
            ["-noLogo", "-noColor", "-stopOnFail", "-parallel", "none", .. suites.SelectMany(suite => new[] { "-class", suite })];
        return tests.EntryPoint!.Invoke(null, [arguments]) switch
        {
            int code => code,
            Task<int> task => task.GetAwaiter().GetResult(),
            _ => 0,
        };
    }
}
