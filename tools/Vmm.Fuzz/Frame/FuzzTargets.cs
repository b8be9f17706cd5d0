using Vmm.Devices;

namespace Vmm.Fuzz;

/// <summary>A target by name.</summary>
/// <param name="Name">What the command line and the corpus call it.</param>
/// <param name="Make">Makes a fresh one, which counts what it meets.</param>
internal sealed record FuzzTarget(string Name, Func<Tally, IFuzzTarget> Make)
{
    /// <summary>The inputs that are kept for it: each once found something, or goes where chance seldom does.</summary>
    internal IEnumerable<string> Corpus
    {
        get
        {
            string folder = Path.Combine(AppContext.BaseDirectory, "Corpus", Name);
            return Directory.Exists(folder) ? Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal) : [];
        }
    }
}

/// <summary>Every target there is.</summary>
internal static class FuzzTargets
{
    internal static IReadOnlyList<FuzzTarget> All { get; } =
    [
        new("ring", tally => new RingTarget(tally)),
        new("registers", tally => DeviceTarget.Of(() => new FuzzedEcho(), tally)),
        new("block", tally => DeviceTarget.Of(() => new FuzzedBlock(BlockEngineKind.Synchronous), tally)),
        new("block-ring", tally => DeviceTarget.Of(() => new FuzzedBlock(BlockEngineKind.Ring), tally)),
        new("rng", tally => DeviceTarget.Of(() => new FuzzedEntropy(), tally)),
        new("console", tally => DeviceTarget.Of(() => new FuzzedConsole(), tally)),
        new("balloon", tally => DeviceTarget.Of(() => new FuzzedBalloon(), tally)),
        new("vsock", tally => DeviceTarget.Of(() => new FuzzedVsock(tally), tally)),
        new("vsock-streams", tally => new VsockStreamTarget(tally)),
        new("net", tally => DeviceTarget.Of(() => new FuzzedNet(), tally)),
        new("serial", tally => new SerialTarget(tally)),
        new("bus", tally => new BusTarget(tally)),
        new("kernel", tally => new KernelTarget(tally)),
        new("command-line", tally => new CommandLineTarget(tally)),
        new("api", tally => new ApiTarget(tally)),
        new("config", tally => new ConfigTarget(tally)),
        new("nbd", tally => new EitherTarget(new NbdTarget(tally, isExtended: false), new NbdTarget(tally, isExtended: true))),
        new("state", tally => new StateTarget(tally)),
        new("vhost-user", tally => new VhostUserTarget(tally)),
        new("web-socket", tally => new WebSocketTarget(tally)),
    ];

    internal static FuzzTarget? Find(string name) => All.FirstOrDefault(target => target.Name == name);
}
