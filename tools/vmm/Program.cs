using System.CommandLine;
using Vmm.Tool;

RootCommand root = new("Hosts the devices of a virtual machine: for a simulated guest, for QEMU over vhost-user, or for KVM.")
{
    RunCommand.Create(),
    BootCommand.Create(),
    ServeCommand.Create(),
    BenchCommand.Create(),
};

ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    string command = parsed.CommandResult.Command == root ? "vmm" : $"vmm {parsed.CommandResult.Command.Name}";
    Console.Error.WriteLine($"vmm: {parsed.Errors[0].Message} (see '{command} --help')");
    return ExitCode.Usage;
}

try
{
    return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
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
