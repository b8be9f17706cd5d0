namespace Vmm.Benchmarks;

/// <summary>What a process is waited for.</summary>
internal enum ProcessMark
{
    /// <summary>Its end.</summary>
    End,

    /// <summary>A byte of its output; it is killed then.</summary>
    Output,

    /// <summary>Its socket, <see cref="ProcessContender.SocketName"/> of its directory, takes a connection; it is killed then.</summary>
    Socket,
}

/// <summary>Starts a program in a process of its own, and waits until it is so far.</summary>
internal sealed class ProcessContender : IContender
{
    internal const string SocketName = "socket";

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-start-");
    private readonly string _socket;
    private readonly string[] _command;
    private readonly ProcessMark _mark;
    private readonly byte? _letter;
    private MeasuredProcess? _running;

    /// <param name="command">Writes what the program needs to a directory, and gives its command line.</param>
    /// <param name="mark">What is waited for.</param>
    /// <param name="letter">Which byte of its output; null for the first.</param>
    internal ProcessContender(Func<string, string[]> command, ProcessMark mark, byte? letter = null)
    {
        _socket = Path.Combine(_directory.FullName, SocketName);
        _command = command(_directory.FullName);
        _mark = mark;
        _letter = letter;
    }

    public void Prepare()
    {
        _running?.Dispose();
        _running = null;
        File.Delete(_socket);
    }

    public void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            Prepare();
            _running = new MeasuredProcess(_command);
            if (_mark == ProcessMark.Socket) StartedProgram.WaitForSocket(_running, _socket);
            else _running.ReadByte(_letter);
            if (_mark == ProcessMark.End) _running.WaitForExit();
        }
    }

    public void Dispose()
    {
        Prepare();
        _directory.Delete(recursive: true);
    }
}
