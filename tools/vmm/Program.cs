using System.CommandLine;
using Vmm.Tool;

return CommandTree.Run(args, new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
