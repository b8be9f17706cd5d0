using System.CommandLine;
using Vmm.Mutants;

Option<string> project = new("--project")
{
    Description = "the library under src whose lines are changed",
    DefaultValueFactory = _ => "Vmm.Events"
};
Option<string[]> folders = new("--folder")
{
    Description = "only files below this folder of the project; may be given more than once",
    DefaultValueFactory = _ => []
};
Option<int> count = new("--count") { Description = "mutants to try, drawn evenly from all", DefaultValueFactory = _ => 300 };
Option<int> minutes = new("--minutes")
{
    Description = "stop after so long, with what was tried until then",
    DefaultValueFactory = _ => 60
};
Option<int> seed = new("--seed") { Description = "what is drawn", DefaultValueFactory = _ => 1 };
Option<int> suiteSeconds = new("--suite-seconds")
{
    Description = "leave out suites that take more processor time than this by themselves",
    DefaultValueFactory = _ => 10
};
Option<string[]> suites = new("--suite")
{
    Description = "only suites whose full name contains this; may be given more than once",
    DefaultValueFactory = _ => [],
};
Option<int> only = new("--only") { Description = "try this mutant alone, by its number", DefaultValueFactory = _ => 0 };

RootCommand command = new("Changes the library one line at a time, and says which changes no test notices.")
{
    project, folders, count, minutes, seed, suiteSeconds, suites, only,
};
command.SetAction(parsed => Run.Of(
    parsed.GetValue(project)!, parsed.GetValue(folders)!, parsed.GetValue(count), TimeSpan.FromMinutes(parsed.GetValue(minutes)),
    parsed.GetValue(seed),
    TimeSpan.FromSeconds(parsed.GetValue(suiteSeconds)), parsed.GetValue(suites)!, parsed.GetValue(only)));
return command.Parse(args).Invoke();
