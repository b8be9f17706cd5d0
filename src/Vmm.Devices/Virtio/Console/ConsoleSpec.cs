using System.Text;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A virtio console as it is described: its ports, each by its own text.</summary>
public sealed record ConsoleSpec : DeviceSpec
{
    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "console",
        Syntax = "pty|uds=PATH|file=PATH|terminal[,name=NAME][,keep=SIZE|discard|block]",
        Description = "A port of a virtio console, and its endpoint on this host; may be given several times. "
            + "The first is the console, the others are ports that the guest finds by their names. "
            + "Output that no program reads: the last SIZE is kept (a console: 1M), or it is discarded, or the guest waits.",
        DeviceName = index => $"console{index}",
        Parse = texts => texts.Count == 0 ? [] : [Parse(texts)],
    };

    /// <summary>Its ports. The first is the console, which a driver without ports uses too.</summary>
    public IList<ConsolePortSpec> Ports { get; set; } = [];

    /// <summary>Reads the texts of a console's ports.</summary>
    /// <exception cref="DeviceSpecException">One makes no sense; the message says what does.</exception>
    public static ConsoleSpec Parse(IReadOnlyList<string> ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        return new ConsoleSpec { Ports = [.. ports.Select(ConsolePortSpec.Parse)] };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name)
    {
        if (Ports.Count is < 1 or > ConsoleDevice.PortsMax)
            yield return $"console '{name}' has {Ports.Count} ports: give it 1 to {ConsoleDevice.PortsMax}";
        foreach (string failure in Ports.Select(port => port.Failure).OfType<string>()) yield return $"console '{name}': {failure}";
        foreach (IGrouping<string, string> twins in Ports.Select(NameOf).GroupBy(port => port).Where(group => group.Count() > 1))
            yield return $"console '{name}': two ports are called '{twins.Key}': give each a name of its own";
        if (Ports.Count(port => port.IsTerminal) > 1) yield return $"console '{name}': two ports want the terminal, and there is one";
    }

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null)
    {
        if (Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        return new ConsoleDevice(name, [.. Ports.Select((port, i) => port.Make(NameOf(port, i), isConsole: i == 0))]);
    }

    /// <inheritdoc/>
    public override IEnumerable<HostAccess> HostAccesses() => Ports.SelectMany(port => port.HostAccesses());

    /// <inheritdoc/>
    public override IDisposable? Connect(VirtioDevice device, RemoteEndpoint reactor, Action<string> announce)
    {
        ConsoleDevice console = (ConsoleDevice)device;
        DisposableStack open = new();
        for (int i = 0; i < Ports.Count; i++)
        {
            (ConsolePortSpec spec, ConsolePort port) = (Ports[i], console.Ports[i]);
            open.Add(() => spec.Connect(port, reactor, announce));
        }
        return open;
    }

    private static string NameOf(ConsolePortSpec port, int index) => port.Name ?? (index == 0 ? "console" : $"port{index}");
}

/// <summary>
/// A port of a console as it is described: <c>pty</c>, <c>uds=PATH</c>, <c>file=PATH</c> or <c>terminal</c>, and <c>name=NAME</c>.
/// </summary>
public sealed record ConsolePortSpec
{
    /// <summary>What the guest finds it by; null: the first is <c>console</c>, the others are <c>port1</c> and so on.</summary>
    public string? Name { get; set; }

    /// <summary>The path of a Unix socket where programs of the host connect, one after the other.</summary>
    public string? Uds { get; set; }

    /// <summary>The file that the guest's output is appended to.</summary>
    public string? File { get; set; }

    /// <summary>Whether it gets a pseudo-terminal of its own.</summary>
    public bool IsPty { get; set; }

    /// <summary>Whether it belongs to the terminal of the process, which connects it itself (<see cref="ConsolePort.Connect"/>).</summary>
    public bool IsTerminal { get; set; }

    /// <summary>
    /// How much of the output that no program reads is kept, in bytes; 0 discards it; null: 1 MiB for the console, and for another port the
    /// guest waits. See <see cref="ConsolePort.KeepBytes"/>.
    /// </summary>
    public int? KeepBytes { get; set; }

    /// <summary>Whether the guest waits until its output is read, whatever port it is.</summary>
    public bool Blocks { get; set; }

    /// <summary>Reads a text such as <c>uds=/run/vm/console</c>.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static ConsolePortSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        SpecText port = SpecText.Parse(text, ["uds", "file", "name", "keep"], ["pty", "terminal", "discard", "block"]);
        if (new[] { port.Value("keep") is not null, port.Has("discard"), port.Has("block") }.Count(given => given) > 1)
            throw port.Refused("give one of 'keep=SIZE', 'discard' and 'block' for output that no program reads");
        ConsolePortSpec spec = new()
        {
            Name = port.Value("name"),
            Uds = port.Value("uds"),
            File = port.Value("file"),
            IsPty = port.Has("pty"),
            IsTerminal = port.Has("terminal"),
            KeepBytes = port.Has("discard") ? 0 : (int?)port.Size("keep", ConsolePort.KeepBytesMax),
            Blocks = port.Has("block"),
        };
        if (spec is { Uds: null, File: null, IsPty: false, IsTerminal: false })
            throw port.Refused("give an endpoint for the guest's console: 'pty', 'uds=PATH', 'file=PATH' or 'terminal'");
        return spec.Failure is { } failure ? throw port.Refused(failure) : spec;
    }

    /// <summary>What is wrong with it, in a sentence; null if nothing is.</summary>
    internal string? Failure
    {
        get
        {
            if (new[] { Uds is not null, File is not null, IsPty, IsTerminal }.Count(given => given) > 1)
                return "give one endpoint for the guest's console: 'pty', 'uds=PATH', 'file=PATH' or 'terminal'";
            if (Name is { } name && (name.Length is 0 or > ConsolePort.NameLengthMax || !Ascii.IsValid(name)))
                return $"give the port a name of at most {ConsolePort.NameLengthMax} ASCII characters";
            if (KeepBytes is < 0 or > ConsolePort.KeepBytesMax)
                return $"{KeepBytes} bytes of output to keep: give 0 to {ConsolePort.KeepBytesMax}";
            return Uds is null ? null : HostListener.Failure(Uds);
        }
    }

    internal IEnumerable<HostAccess> HostAccesses()
    {
        if (Uds is not null) yield return new HostAccess(HostAccessKind.Listen, Uds);
        if (File is not null) yield return new HostAccess(HostAccessKind.Append, File);
        if (IsPty) yield return new HostAccess(HostAccessKind.Terminal);
    }

    internal ConsolePort Make(string name, bool isConsole) => (Blocks, KeepBytes) switch
    {
        (true, _) => new ConsolePort(name, isConsole) { KeepBytes = null },
        (_, { } bytes) => new ConsolePort(name, isConsole) { KeepBytes = bytes },
        _ => new ConsolePort(name, isConsole),
    };

    internal IDisposable? Connect(ConsolePort port, RemoteEndpoint reactor, Action<string> announce)
    {
        if (Uds is not null) return new ConsoleListener(port, Uds, reactor);
        if (File is not null) port.Connect(null, SerialOutput.AppendTo(File));
        if (!IsPty) return null;
        PseudoTerminal terminal = new();
        terminal.Connect(port);
        announce($"terminal {port.Name} {terminal.Path}");
        return terminal;
    }
}
