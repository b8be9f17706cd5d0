namespace Vmm.Devices.Simulation;

/// <summary>What a guest's shell can do.</summary>
internal enum ShellVerb
{
    Help,
    ListDevices,
    Sha256,
    Read,
    Write,
    Fill,
    Verify,
    Flush,
    Trim,
    Random,
    Statistics,
    PowerOff,
}
