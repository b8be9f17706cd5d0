using System.CommandLine;
using Vmm.Tool;

if (!StandardStreams.HaveRoom()) return ExitCode.World;
StandardError.Open();
if (BrokerProcess.IsOne) return BrokerProcess.Run(args);
return CommandTree.Run(args, new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
