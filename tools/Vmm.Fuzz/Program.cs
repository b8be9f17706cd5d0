using System.CommandLine;
using Vmm.Fuzz;

RootCommand root = new("Fuzzes what a hostile guest can reach.")
{
    RunCommand.Create(),
    CoverageCommand.Create(),
    CoverageCommand.CreateServer(),
    KeepCommand.Create(),
    KeepCommand.CreateChooser(),
};
return root.Parse(args).Invoke();
