using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A port of a virtio console, and the way from it to the host's people.</summary>
internal sealed class ConsoleWay
{
    private readonly string _uds;
    private readonly string _file;
    private readonly bool _isPty;

    private ConsoleWay(DeviceArgument argument, string name, bool isConsole)
    {
        _uds = argument.Optional("uds", "");
        _file = argument.Optional("file", "");
        _isPty = argument.Has("pty");
        IsTerminal = argument.Has("terminal");
        if (new[] { _uds.Length > 0, _file.Length > 0, _isPty, IsTerminal }.Count(way => way) != 1)
            throw argument.Refused("give one way to reach the guest's console: 'pty', 'uds=PATH', 'file=PATH' or 'terminal'");
        name = argument.Optional("name", name);
        if (name.Length > ConsolePort.NameLengthMax || !System.Text.Ascii.IsValid(name))
            throw argument.Refused($"give the port a name of at most {ConsolePort.NameLengthMax} ASCII characters");
        Port = new ConsolePort(name, isConsole);
    }

    internal ConsolePort Port { get; }

    /// <summary>Whether it leads to the process's own terminal.</summary>
    internal bool IsTerminal { get; }

    /// <summary>A port of a machine: the first is its console.</summary>
    internal static ConsoleWay Parse(string text, int index) => new(
        DeviceArgument.Parse("--console", text, ["uds", "file", "name"], "pty", "terminal"), index == 0 ? "console" : $"port{index}", isConsole: index == 0);

    /// <summary>The one port of a console that is served at a socket; no terminal belongs to that.</summary>
    internal static ConsoleWay ParseServed(string text, out string socket)
    {
        DeviceArgument argument = DeviceArgument.Parse("--console", text, ["socket", "uds", "file"], "pty");
        socket = argument.Required("socket");
        return new ConsoleWay(argument, "console", isConsole: true);
    }

    /// <summary>A console of these ports.</summary>
    internal static DeviceRequest Request(string name, params ConsoleWay[] ways)
    {
        ConsoleDevice? console = null;
        ConsoleWay? terminal = Array.Find(ways, way => way.IsTerminal);
        return new DeviceRequest(
            () => console = new ConsoleDevice(name, [.. ways.Select(way => way.Port)]),
            reactor =>
            {
                DisposableStack open = new();
                foreach (ConsoleWay way in ways) open.Add(() => way.Lead(reactor));
                return open;
            },
            terminal is null ? null : keys => new ConsoleScreen(console!, terminal.Port, keys));
    }

    private IDisposable? Lead(RemoteEndpoint reactor)
    {
        if (_uds.Length > 0) return new ConsoleListener(Port, _uds, reactor);
        if (_file.Length > 0) Port.Connect(null, SerialOutput.AppendTo(_file));
        return _isPty ? OpenTerminal() : null;
    }

    private PseudoTerminal OpenTerminal()
    {
        PseudoTerminal terminal = new();
        terminal.Connect(Port);
        Console.WriteLine($"terminal {Port.Name} {terminal.Path}");
        return terminal;
    }
}
