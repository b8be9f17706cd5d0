using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The host side of a serial port: carries bytes between the port and two descriptors, on a reactor. Input that the port has no room for is
/// not read; output that the descriptor does not take stays in the port, whose transmitter then has no room. A vCPU never waits for either.
/// </summary>
public sealed class SerialBackend : Subscriber
{
    /// <summary>
    /// Bytes read or written by one system call. A pipe that is ready to be written takes this much without waiting (pipe(7), PIPE_BUF).
    /// </summary>
    private const int ChunkBytesMax = 4096;

    /// <summary>Chunks in one turn of the reactor; then the other devices have theirs.</summary>
    private const int ChunksPerTurnMax = 16;

    private readonly Uart16550 _port;
    private readonly OwnedFd? _input;
    private readonly ISerialOutput? _output;
    private readonly ConsoleMirror? _mirror;
    private readonly bool _staysConnected;
    private readonly ILogger _logger;
    private readonly byte[] _outputChunk = new byte[ChunkBytesMax];
    private readonly byte[] _inputChunk = new byte[ChunkBytesMax];
    private readonly ManualResetEventSlim _drained = new(true);
    private readonly Doorbell _outputBell;
    private readonly Doorbell _inputBell;
    private HostStream? _host;
    private ReadOnlyMemory<byte> _script;
    private long _bytesIn;
    private long _bytesOut;

    /// <summary>Connects a port. <see cref="RegisterInto"/> then lets bytes flow.</summary>
    /// <param name="port">The port; it has one host side.</param>
    /// <param name="remote">The reactor that is to carry the bytes.</param>
    /// <param name="input">What to read; null if there is nothing to read. It is taken over.</param>
    /// <param name="output">Where the guest's bytes go; null drops them.</param>
    /// <param name="logger">Gets the first failure of each direction.</param>
    /// <param name="script">Input that is there already, before anything is read. With no <paramref name="input"/> the line hangs up behind
    /// it.</param>
    public SerialBackend(Uart16550 port, RemoteEndpoint remote, OwnedFd? input, ISerialOutput? output, ILogger? logger = null,
        ReadOnlyMemory<byte> script = default)
        : this(port, remote, input, output, logger, script, mirror: null)
    {
    }

    // The mirror shows the port to further viewers, who may type. With one, and with neither input nor script, the line stays connected:
    // input comes from them.
    internal SerialBackend(Uart16550 port, RemoteEndpoint remote, OwnedFd? input, ISerialOutput? output, ILogger? logger,
        ReadOnlyMemory<byte> script, ConsoleMirror? mirror)
        : base(port is null ? throw new ArgumentNullException(nameof(port)) : port.Name)
    {
        ArgumentNullException.ThrowIfNull(remote);
        StreamCalls.Bind();
        _port = port;
        (_input, _output) = (input, output);
        _script = script;
        _mirror = mirror;
        _staysConnected = mirror is not null && input is null && script.IsEmpty;
        _logger = SteadyLogger.Over(logger ?? NullLogger.Instance);
        _outputBell = remote.CreateDoorbell(_ => DrainOutput());
        _inputBell = remote.CreateDoorbell(_ => ResumeInput());
        _port.Connect(() => _outputBell.TryRing(), () => _inputBell.TryRing());
        // Behind a script without further input the line hangs up.
        if (input is null && !script.IsEmpty) mirror?.EndInput();
        mirror?.Connect(() => _inputBell.TryRing());
    }

    /// <summary>What shows the port to further viewers; null for nothing.</summary>
    internal ConsoleMirror? Mirror => _mirror;

    /// <summary>Bytes carried to the guest. Any thread.</summary>
    public long BytesIn => Volatile.Read(ref _bytesIn);

    /// <summary>Bytes carried from the guest. Any thread.</summary>
    public long BytesOut => Volatile.Read(ref _bytesOut);

    /// <summary>Starts to carry bytes. On the reactor's thread.</summary>
    public void RegisterInto(IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        _host = new HostStream(In(reactor), _input, _output)
        {
            OnInput = ReadInput,
            OnInputEnd = EndInput,
            OnRoom = DrainOutput,
            OnOutputBroken = errno => _logger.LogError(
                "{Port}: cannot write output: {Errno}; what the guest prints from now on is dropped", Name, errno),
        };
        ResumeInput();
        DrainOutput();
    }

    /// <summary>Waits until the host has all that the guest transmitted so far. Any thread but the reactor's.</summary>
    /// <returns>False if the time was up first: the output does not take it.</returns>
    public bool WaitForOutput(TimeSpan timeout)
    {
        if (_port.OutputBacklog == 0) return true;
        _drained.Reset();
        return !_outputBell.TryRing() || _drained.Wait(timeout);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _input?.Dispose();
        _output?.Dispose();
        _mirror?.End();
        _drained.Dispose();
        base.Dispose(disposing);
    }

    private void DrainOutput()
    {
        if (_host is null) return;
        for (int chunk = 0; chunk < ChunksPerTurnMax; chunk++)
        {
            int length = _port.PeekOutput(_outputChunk);
            if (length == 0)
            {
                _drained.Set();
                return;
            }
            if (!_host.TryWrite(_outputChunk.AsSpan(0, length), out int written)) return;
            _mirror?.Printed(_outputChunk.AsSpan(0, written));
            _port.SkipOutput(written);
            Volatile.Write(ref _bytesOut, _bytesOut + written);
        }
        _outputBell.TryRing();
    }

    /// <summary>There is room for input, or some was typed: the script first, then what viewers typed, then what can be read.</summary>
    private void ResumeInput()
    {
        if (_host is null || !GiveScript() || !GiveTyped() || _staysConnected) return;
        if (_input is null) _port.EndInput();
        _host.Watch();
        if (_host.IsReady) ReadInput();
    }

    private bool GiveScript()
    {
        bool hasRoom = true;
        while (hasRoom && _script.Length > 0)
        {
            hasRoom = _port.TryGiveInput(_script.Span, out int taken);
            _script = _script[taken..];
            Volatile.Write(ref _bytesIn, _bytesIn + taken);
        }
        return hasRoom;
    }

    private bool GiveTyped()
    {
        if (_mirror is null) return true;
        while (true)
        {
            int length = _mirror.TakeTyped(_inputChunk.AsSpan(0, Math.Min(_port.InputRoom, ChunkBytesMax)));
            if (length == 0) return true;
            bool hasRoom = _port.TryGiveInput(_inputChunk.AsSpan(0, length), out _);
            Volatile.Write(ref _bytesIn, _bytesIn + length);
            if (!hasRoom) return false;
        }
    }

    /// <summary>Reads what the port has room for, once for a descriptor that says when it has more, else until the port is full.</summary>
    private void ReadInput()
    {
        bool hasRoom;
        do
        {
            int length = _host!.Read(_inputChunk.AsSpan(0, Math.Min(_port.InputRoom, ChunkBytesMax)));
            hasRoom = _port.TryGiveInput(_inputChunk.AsSpan(0, length), out _);
            Volatile.Write(ref _bytesIn, _bytesIn + length);
        }
        while (hasRoom && _host.IsReady);
        if (hasRoom) _host.Watch();
    }

    private void EndInput(Errno errno)
    {
        if (errno != Errno.None)
            _logger.LogError("{Port}: cannot read input: {Errno}; the guest sees the line hung up", Name, errno);
        _port.EndInput();
        _mirror?.EndInput();
    }
}
