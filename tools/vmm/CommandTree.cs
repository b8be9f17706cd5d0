using System.CommandLine;

namespace Vmm.Tool;

/// <summary>The commands of <c>vmm</c>.</summary>
internal static class CommandTree
{
    /// <summary>Understands a command line. What is wrong with it is in the result.</summary>
    internal static ParseResult Parse(string[] args)
    {
        // Half of a start is compiling what it runs. A boot that is spelled right needs one command, and neither help nor suggestions.
        if (args is ["boot", ..] && Array.IndexOf(args, "--help") < 0)
        {
            ParseResult boot = BootCommand.Create(new EarlyStart()).Parse(args);
            if (boot.Errors.Count == 0) return boot;
        }
        RootCommand root = new("Hosts the devices of a virtual machine: for a simulated guest, for QEMU over vhost-user, or for KVM.")
        {
            RunCommand.Create(),
            BootCommand.Create(),
            ServeCommand.Create(),
            BenchCommand.Create(),
        };
        return root.Parse(args);
    }
}
