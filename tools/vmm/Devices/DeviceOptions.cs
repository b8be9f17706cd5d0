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
    /// <param name="parsed">The command line.</param>
    /// <param name="requested">The devices, by the names that they have.</param>
    internal DeviceWords Words(ParseResult parsed, IReadOnlyList<RequestedDevice> requested)
    {
        DeviceWords words = new(CommandWords.Of(parsed, [_engine, _reactors]));
        foreach (DeviceOption option in _kinds)
        {
            string[] given = CommandWords.Of(parsed, [option]);
            RequestedDevice[] devices = [.. requested.Where(device => device.Kind == option.Kind)];
            // Some texts may be one device together.
            for (int i = 0; i < devices.Length; i++)
                words.Add(option.Kind, devices[i].Name, devices.Length == given.Length ? [given[i]] : i == 0 ? given : []);
        }
        return words;
    }

    /// <summary>Those of a machine that goes on: they have the names that they had, given in the order of these.</summary>
    /// <param name="requested">What was asked for.</param>
    /// <param name="saved">The names of the devices of the machine that was saved.</param>
    internal static IReadOnlyList<RequestedDevice> Renamed(IReadOnlyList<RequestedDevice> requested, IReadOnlyCollection<string> saved) =>
    [
        .. requested.GroupBy(device => device.Kind).SelectMany(group =>
        {
            IReadOnlyList<string> names = DeviceWords.Names(group.Key, saved);
            return group.Select((device, i) => i < names.Count ? device with { Name = names[i] } : device);
        }),
    ];

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
