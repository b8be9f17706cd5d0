using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port of a <see cref="ConsoleDevice"/>: a stream of bytes each way, with a name. Its host side may be connected, changed and disconnected at
/// any time, from any thread. Nothing is read from the host that the guest has no buffer for.
/// </summary>
public sealed class ConsolePort
{
    /// <summary>Longest name: it has to fit a control message.</summary>
    public const int NameLengthMax = 64;

    private readonly Lock _lock = new();
    private ConsoleConnection? _wanted;
    private ConsoleConnection? _served;
    private Doorbell? _bell;

    /// <summary>Makes a port that leads nowhere yet.</summary>
    /// <param name="name">What the guest finds it by: <c>org.example.agent.0</c>. ASCII.</param>
    /// <param name="isConsole">Whether the guest should put a terminal on it.</param>
    public ConsolePort(string name, bool isConsole = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (name.Length > NameLengthMax || !System.Text.Ascii.IsValid(name))
            throw new ArgumentException($"console port '{name}': give it a name of at most {NameLengthMax} ASCII characters");
        Name = name;
        IsConsole = isConsole;
    }

    /// <summary>What the guest finds it by.</summary>
    public string Name { get; }

    /// <summary>Whether the guest should put a terminal on it.</summary>
    public bool IsConsole { get; }

    /// <summary>Whether somebody is on the host side.</summary>
    public bool IsConnected
    {
        get { lock (_lock) return _wanted is not null; }
    }

    /// <summary>Connects the host side, in the place of what was connected.</summary>
    /// <param name="input">What the guest reads; taken over. It is read only when it is ready. Null: nothing.</param>
    /// <param name="output">Where the guest's bytes go; taken over. Null drops them.</param>
    /// <param name="onHungUp">
    /// Told, on the device's reactor, that the end of the input or a failed output disconnected the host side. Null: the end of the input
    /// leaves the output as it is, as suits a terminal whose input is a file.
    /// </param>
    public void Connect(OwnedFd? input, ISerialOutput? output, Action? onHungUp = null) => Change(new ConsoleConnection(input, output, onHungUp));

    /// <summary>Disconnects the host side and closes it. What the guest writes from then on is dropped.</summary>
    public void Disconnect() => Change(null);

    /// <summary>The connection that is to be served from now on, on the device's reactor; the one before is closed.</summary>
    /// <param name="bell">Rung at each change; null ends the serving, and leaves the connection as it is.</param>
    internal ConsoleConnection? Serve(Doorbell? bell)
    {
        ConsoleConnection? before;
        ConsoleConnection? now;
        lock (_lock)
        {
            before = _served == _wanted ? null : _served;
            now = bell is null ? null : _wanted;
            (_served, _bell) = (now, bell);
        }
        before?.Dispose();
        return now;
    }

    /// <summary>Writes to whoever is on the host side, driver or not; what is not taken at once is lost. On the device's reactor.</summary>
    internal void WriteNow(ReadOnlySpan<byte> bytes)
    {
        // Under the lock nobody closes what is wanted.
        lock (_lock) _wanted?.Output?.Write(bytes, out _);
    }

    /// <summary>The host side hung up: disconnected, if nobody has connected something else meanwhile.</summary>
    internal void HungUp(ConsoleConnection connection)
    {
        lock (_lock)
        {
            if (_wanted == connection) _wanted = null;
        }
        connection.OnHungUp?.Invoke();
    }

    private void Change(ConsoleConnection? connection)
    {
        ConsoleConnection? before;
        Doorbell? bell;
        lock (_lock)
        {
            // What is served is closed by the reactor that serves it.
            before = _wanted == _served ? null : _wanted;
            _wanted = connection;
            bell = _bell;
        }
        before?.Dispose();
        bell?.TryRing();
    }
}

/// <summary>The two directions of a host side. A reactor watches duplicates of its descriptors.</summary>
internal sealed class ConsoleConnection(OwnedFd? input, ISerialOutput? output, Action? onHungUp) : IDisposable
{
    internal OwnedFd? Input => input;

    internal ISerialOutput? Output => output;

    internal Action? OnHungUp => onHungUp;

    public void Dispose()
    {
        input?.Dispose();
        output?.Dispose();
    }
}
