using System.CommandLine;

namespace Vmm.Tool;

/// <summary>The devices of a machine as <c>vmm run</c> and <c>vmm boot</c> take them. A new kind of device is one file and one line here.</summary>
/// <param name="attachAll">Whether the machine has, unless told otherwise, every device that needs neither privilege nor a word from the user.</param>
internal sealed class DeviceOptions(bool attachAll)
{
    // In this order they get their registers and interrupt lines.
    private readonly DeviceOption[] _kinds =
    [
        new DiskOption(attachAll),
        new EntropyOption(attachAll),
        new BalloonOption(attachAll),
        new ConsoleOption(),
        new NetOption(),
        new VsockOption(),
    ];

    /// <summary>Adds the options of every kind to a command.</summary>
    internal void AddTo(Command command)
    {
        foreach (DeviceOption kind in _kinds)
        {
            foreach (Option option in kind.Options) command.Options.Add(option);
        }
    }

    /// <summary>Understands what was asked for; opens nothing yet.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="vcpus">Virtual CPUs of the machine.</param>
    /// <param name="room">Most devices the machine takes.</param>
    /// <exception cref="UsageException">A value makes no sense, or there are too many devices.</exception>
    internal IReadOnlyList<DeviceRequest> Read(ParseResult parsed, int vcpus, int room)
    {
        List<DeviceRequest> requests = [];
        foreach (DeviceOption kind in _kinds)
        {
            if (attachAll || kind.IsGiven(parsed)) requests.AddRange(kind.Read(parsed, vcpus));
        }
        if (requests.Count > room) throw new UsageException($"{requests.Count} devices are asked for: a machine has room for {room}");
        return requests;
    }
}
