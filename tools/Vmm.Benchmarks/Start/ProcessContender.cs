using System.Diagnostics;
using System.Net.Sockets;

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
    private readonly string[] _command;
    private readonly ProcessMark _mark;
    private readonly byte? _letter;
    private Process? _running;

    /// <param name="command">Writes what the program needs to a directory, and gives its command line.</param>
    /// <param name="mark">What is waited for.</param>
    /// <param name="letter">Which byte of its output; null for the first.</param>
    internal ProcessContender(Func<string, string[]> command, ProcessMark mark, byte? letter = null)
    {
        _command = command(_directory.FullName);
        _mark = mark;
        _letter = letter;
    }

    public void Prepare()
    {
        if (_running is null) return;
        if (!_running.HasExited) _running.Kill();
        _running.WaitForExit();
        _running.Dispose();
        _running = null;
        File.Delete(Path.Combine(_directory.FullName, SocketName));
    }

    public void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            Prepare();
            _running = Process.Start(new ProcessStartInfo(_command[0], _command[1..])
            {
                RedirectStandardOutput = true,
                RedirectStandardInput = true
            })!;
            if (_mark == ProcessMark.Socket) WaitForSocket(_running);
            else WaitForOutput(_running.StandardOutput.BaseStream);
            if (_mark == ProcessMark.End) _running.WaitForExit();
        }
    }

    public void Dispose()
    {
        Prepare();
        _directory.Delete(recursive: true);
    }

    private void WaitForOutput(Stream output)
    {
        for (int read; (read = output.ReadByte()) != _letter;)
        {
            if (read < 0) throw Failure("did not print what it should have");
            if (_letter is null) return;
        }
    }

    private void WaitForSocket(Process process)
    {
        UnixDomainSocketEndPoint address = new(Path.Combine(_directory.FullName, SocketName));
        while (true)
        {
            using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                socket.Connect(address);
                return;
            }
            catch (SocketException)
            {
                if (process.HasExited) throw Failure("ended");
                Thread.Yield();
            }
        }
    }

    private InvalidOperationException Failure(string what) => new($"{string.Join(' ', _command)} {what}");
}
