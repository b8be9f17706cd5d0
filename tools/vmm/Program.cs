using System.CommandLine;
using Vmm.Tool;

ParseResult parsed = CommandTree.Parse(args);
if (parsed.Errors.Count > 0)
{
    Command named = parsed.CommandResult.Command;
    string command = named is RootCommand ? "vmm" : $"vmm {named.Name}";
    Console.Error.WriteLine($"vmm: {parsed.Errors[0].Message} (see '{command} --help')");
    return ExitCode.Usage;
}

try
{
    return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (UsageException usage)
{
    Console.Error.WriteLine($"vmm: {usage.Message}");
    return ExitCode.Usage;
}
catch (Exception world) when (ExitCode.IsWorld(world))
{
    Console.Error.WriteLine($"vmm: {world.Message}");
    return ExitCode.World;
}
