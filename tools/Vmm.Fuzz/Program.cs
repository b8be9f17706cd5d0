using System.CommandLine;
using Vmm.Fuzz;

RootCommand root = new("Fuzzes what a hostile guest can reach.")
{
    RunCommand.Create(),
};
return root.Parse(args).Invoke();
