using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The devices of a machine as <c>vmm run</c> and <c>vmm boot</c> take them: an option for each of <see cref="DeviceKinds"/>.
/// </summary>
/// <param name="attachAll">Whether the machine has by default every device that needs neither privilege nor a path.</param>
internal sealed class DeviceOptions(bool attachAll)
{
    private readonly DeviceOption[] _kinds =
        [.. DeviceKinds.All.Select(kind => new DeviceOption(kind, isServed: false, isStandard: kind.IsStandard && attachAll))];

    private readonly ChoiceOption _engine = new("--engine",
        "What moves the bytes of disks that do not say it: the kernel's completion ring where there is one, a few threads, "
        + "or the reactor itself.",
        standard: "ring", "ring", "threads", "synchronous");

    private readonly NumberOption _reactors = new(
        "--reactors", "N", "Threads that serve devices, each with a reactor; devices and queues are dealt out in turn", 1,
        DeviceHostOptions.ReactorsMax, standard: 1);

    /// <summary>How many reactors serve the devices.</summary>
    internal int Reactors(ParseResult parsed) => _reactors.In(parsed);

    /// <summary>Adds the options to a command.</summary>
    internal void AddTo(Command command)
    {
        foreach (DeviceOption option in _kinds) command.Options.Add(option);
        command.Options.Add(_engine);
        command.Options.Add(_reactors);
    }

    /// <summary>The words of the command line that these options were given by.</summary>
    internal IReadOnlyList<string> Words(ParseResult parsed) => CommandWords.Of(parsed, [.. _kinds, _engine, _reactors]);

    /// <summary>What was asked for.</summary>
    internal IReadOnlyList<RequestedDevice> Read(ParseResult parsed) => [.. _kinds.SelectMany(kind => kind.In(parsed))];

    /// <summary>What the machine decides for its devices.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="vcpus">Virtual CPUs of the machine: each has a queue of its own.</param>
    /// <param name="memoryBytes">The machine's memory.</param>
    internal DeviceSetting Setting(ParseResult parsed, int vcpus, ulong memoryBytes) => new()
    {
        MemoryBytes = memoryBytes,
        Queues = vcpus,
        Engine = _engine.In(parsed) switch
        {
            "threads" => BlockEngineKind.Threads,
            "synchronous" => BlockEngineKind.Synchronous,
            _ => BlockEngineKind.Ring,
        },
    };

    /// <summary>Why a machine has no room for its devices, if that is so.</summary>
    internal static IEnumerable<string> Contradictions(IReadOnlyList<RequestedDevice> devices, int room) =>
        devices.Count > room ? [$"{devices.Count} devices are asked for: a machine has room for {room}"] : [];
}
