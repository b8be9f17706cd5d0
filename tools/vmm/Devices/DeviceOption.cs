using System.CommandLine;

namespace Vmm.Tool;

/// <summary>One kind of device on the command line of a machine: its options, and the devices they ask for.</summary>
internal abstract class DeviceOption
{
    /// <summary>What is added to the command.</summary>
    internal abstract Option[] Options { get; }

    /// <summary>Whether the command line says something of it.</summary>
    internal bool IsGiven(ParseResult parsed) => Array.Exists(Options, option => parsed.GetResult(option) is { Implicit: false });

    /// <summary>Understands what was given; opens nothing yet.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="vcpus">Virtual CPUs of the machine, for devices with a queue for each.</param>
    /// <exception cref="UsageException">A value makes no sense.</exception>
    internal abstract DeviceRequest[] Read(ParseResult parsed, int vcpus);
}
