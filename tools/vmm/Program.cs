using System.CommandLine;
using Vmm.Tool;

if (!StandardStreams.HaveRoom()) return ExitCode.World;
return CommandTree.Run(args, new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
