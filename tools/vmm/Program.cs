using System.CommandLine;
using Vmm.Tool;

if (!StandardStreams.HaveRoom()) return ExitCode.World;
StandardError.Open();
return CommandTree.Run(args, new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
