using System.CommandLine;
using Vmm.Benchmarks;

RootCommand root = new("Measures Vmm beside what else could do the same work.")
{
    CompareCommand.Create(),
#if !AOT
    BenchCommand.Create(),
#endif
    AttackCommand.Create(),
    SoakCommand.Create(),
};

BaselineLibrary.BindImports();
try
{
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (IOException world)
{
    Console.Error.WriteLine(world.Message);
    return 1;
}
