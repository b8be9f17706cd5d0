using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A port of a <see cref="ConsoleDevice"/>: a stream of bytes in each direction, with a name. Its host side may be connected, changed and
/// disconnected at any time, from any thread. Nothing is read from the host that the guest has no buffer for.
/// </summary>
public sealed class ConsolePort
{
    /// <summary>Longest name: it has to fit a control message.</summary>
    public const int NameLengthMax = 64;

    /// <summary>Bytes of output that a console keeps by default: 1 MiB.</summary>
    public const int KeepBytesStandard = 1 << 20;

    /// <summary>Greatest value of <see cref="KeepBytes"/>.</summary>
    public const int KeepBytesMax = 1 << 30;

    private readonly int? _keepBytes;
    private long _droppedBytes;

    private readonly Lock _lock = new();
    private ConsoleConnection? _wanted;
    private ConsoleConnection? _served;
    private Doorbell? _bell;

    /// <summary>Makes a port that is not connected yet.</summary>
    /// <param name="name">What the guest finds it by: <c>org.example.agent.0</c>. ASCII.</param>
    /// <param name="isConsole">Whether the guest should put a terminal on it.</param>
    public ConsolePort(string name, bool isConsole = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (name.Length > NameLengthMax || !System.Text.Ascii.IsValid(name))
            throw new ArgumentException($"console port '{name}': give it a name of at most {NameLengthMax} ASCII characters");
        Name = name;
        IsConsole = isConsole;
        KeepBytes = isConsole ? KeepBytesStandard : null;
    }

    /// <summary>What the guest finds it by.</summary>
    public string Name { get; }

    /// <summary>Whether the guest should put a terminal on it.</summary>
    public bool IsConsole { get; }

    /// <summary>
    /// What becomes of output that the host side does not read. A number: so many bytes are kept, connected or not, the oldest beyond them
    /// are dropped, and who reads next gets a line that says how many. 0: what is not read at once is dropped. Null: the guest waits, and
    /// nothing is lost while the port is connected. A console keeps <see cref="KeepBytesStandard"/>, because Linux spins with a lock held
    /// until its console's output is taken; another port has its guest wait.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 0, or more than <see cref="KeepBytesMax"/>.</exception>
    public int? KeepBytes
    {
        get => _keepBytes;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value ?? 0, nameof(value));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value ?? 0, KeepBytesMax, nameof(value));
            _keepBytes = value;
        }
    }

    /// <summary>Bytes of output that were dropped because they were not read. Any thread.</summary>
    public long DroppedBytes => Volatile.Read(ref _droppedBytes);

    /// <summary>What shows the port to further viewers, who may type; null for nothing. Set before a driver comes.</summary>
    internal ConsoleMirror? Mirror { get; set; }

    /// <summary>Whether an endpoint of the host is connected.</summary>
    public bool IsConnected
    {
        get { lock (_lock) return _wanted is not null; }
    }

    /// <summary>Connects the host side, in the place of what was connected.</summary>
    /// <param name="input">What the guest reads; taken over. It is read only when it is ready. Null: nothing.</param>
    /// <param name="output">Where the guest's bytes go; taken over. Null drops them.</param>
    /// <param name="onHungUp">
    /// Called, on the device's reactor, when the end of the input or a failed output disconnected the host side. Null: the end of the input
    /// leaves the output as it is, as suits a terminal whose input is a file.
    /// </param>
    public void Connect(OwnedFd? input, ISerialOutput? output, Action? onHungUp = null) =>
        Change(new ConsoleConnection(input, output, onHungUp));

    /// <summary>Disconnects the host side and closes it. What the guest writes from then on is kept for the next one, or dropped: see <see
    /// cref="KeepBytes"/>.</summary>
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

    /// <summary>Counts output that goes nowhere. On the device's reactor.</summary>
    internal void CountDropped(int bytes) => Volatile.Write(ref _droppedBytes, _droppedBytes + bytes);

    /// <summary>
    /// Writes to the connected endpoint of the host, with or without a driver; what is not taken at once is lost. On the device's reactor.
    /// </summary>
    internal void WriteNow(ReadOnlySpan<byte> bytes)
    {
        Mirror?.Printed(bytes);
        // Under the lock the endpoint can't be closed by another thread.
        lock (_lock) _wanted?.Output?.Write(bytes, out _);
    }

    /// <summary>
    /// Writes what waits to the connected endpoint of the host, as long as that takes it. When no reactor serves the port.
    /// </summary>
    internal void Finish(ConsoleOutput waiting, TimeSpan patience)
    {
        ISerialOutput? output;
        lock (_lock) output = _bell is null ? _wanted?.Output : null;
        bool hasWaited = false;
        while (output is not null && !waiting.IsEmpty)
        {
            Errno errno = output.Write(waiting.Next(), out int written);
            waiting.Skip(written);
            if (written > 0) hasWaited = false;
            if (errno is Errno.None or Errno.Interrupted) continue;
            // A terminal whose other side is closed says at once that it can be written, or hung up, and takes nothing.
            if (errno != Errno.Again || hasWaited || output.Ready is null || !SerialOutput.WaitForRoom(output, patience)) return;
            hasWaited = true;
        }
    }

    /// <summary>The host side hung up: disconnected, if nothing else was connected meanwhile.</summary>
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
