using System.CommandLine;
using Vmm.Devices.Simulation;
using Vmm.Fuzz;

// Several fuzzers, and what else the machine does, share its processors.
SimulatedGuestOptions.StandardIdlePatience = SimulatedGuest.Patience;
RootCommand root = new("Fuzzes what a hostile guest can reach.")
{
    RunCommand.Create(),
    CoverageCommand.Create(),
    CoverageCommand.CreateServer(),
    KeepCommand.Create(),
    KeepCommand.CreateChooser(),
};
return root.Parse(args).Invoke();
