using System.Diagnostics;
using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// A process that serves one device for <see cref="IsolatedServer"/>, and its successors: one that ends without being asked is replaced,
/// and front-ends hand their log of what is in flight to the next. What it prints is trusted with its lines only.
/// </summary>
internal sealed class IsolatedDevice : IDisposable
{
    /// <summary>In the environment of such a process: its standard input is of the one that started it.</summary>
    private const string Mark = "VMM_ISOLATED";

    /// <summary>In the environment of one whose socket the service manager made: the descriptor's number.</summary>
    private const string SocketMark = "VMM_ISOLATED_SOCKET";

    /// <summary>What a service manager says to the process that it starts, and to no other.</summary>
    internal static readonly string[] OfManager =
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

    /// <summary>One is started at a time: it gets its own socket, and no other's.</summary>
    private static readonly Lock Starting = new();

    /// <summary>What that one asks for: a character for each time. The end of the input is the end.</summary>
    private const char AskForStatistics = 's';

    /// <summary>Between an end and the next start: doubles with each end that follows soon.</summary>
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50), LongestPause = TimeSpan.FromSeconds(10);

    private const int LineCharactersMax = 4096;
    private const string Listening = "listening ";

    private readonly string[] _words;
    private readonly OwnedFd? _socket;
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _listens = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Process? _process;
    private bool _stopping, _isSuccessor;
    /// <summary>Whether the process that runs now listens.</summary>
    private volatile bool _isListening;

    /// <param name="name">For messages.</param>
    /// <param name="words">Its command line.</param>
    /// <param name="socket">Where it listens, if the service manager made that; taken over.</param>
    internal IsolatedDevice(string name, string[] words, OwnedFd? socket = null) => (Name, _words, _socket) = (name, words, socket);

    /// <summary>Whether this process is one.</summary>
    internal static bool IsOne => Environment.GetEnvironmentVariable(Mark) is not null;

    /// <summary>In such a process: the number of the socket that the service manager made; null if it makes its own.</summary>
    internal static int? PassedSocket =>
        int.TryParse(Environment.GetEnvironmentVariable(SocketMark), NumberStyles.None, CultureInfo.InvariantCulture, out int fd)
            ? fd : null;

    internal string Name { get; }

    /// <summary>Completes when it listens for the first time; fails if it ends before.</summary>
    internal Task Listens => _listens.Task;

    /// <summary>Bytes of memory that no other process has; 0 if it does not run.</summary>
    internal long OwnMemoryBytes
    {
        get { lock (_lock) return _process is { HasExited: false } process ? OwnMemoryOf(process.Id) : 0; }
    }

    /// <summary>Runs it, and runs it again, until it is asked to stop.</summary>
    /// <returns>The exit code of one that failed before it listened; 0 otherwise.</returns>
    internal async Task<int> RunAsync()
    {
        int exitCode = await RunUntilStoppedAsync().ConfigureAwait(false);
        // One that was asked to stop before is waited for too.
        _listens.TrySetException(new IOException($"the process of {Name} ended before it listened"));
        return exitCode;
    }

    private async Task<int> RunUntilStoppedAsync()
    {
        for (TimeSpan pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            long started = Stopwatch.GetTimestamp();
            if (TryStart() is not { } process) return ExitCode.Success;
            using (process)
            {
                await RelayAsync(process.StandardOutput).ConfigureAwait(false);
                await process.WaitForExitAsync().ConfigureAwait(false);
                lock (_lock) _process = null;
                _isSuccessor = true;
                if (_stopping || process.ExitCode == ExitCode.Success) return ExitCode.Success;
                if (!_listens.Task.IsCompleted) return process.ExitCode;
                StandardError.Say(LogLevel.Error,
                    $"the process of {Name} ended with {HowItEnded(process.ExitCode)}: it is started again", Name);
            }
            if (Stopwatch.GetElapsedTime(started) > LongestPause) pause = FirstPause;
            await Task.Delay(pause).ConfigureAwait(false);
        }
    }

    /// <summary>Has it print what it did so far.</summary>
    internal void PrintStatistics()
    {
        lock (_lock)
        {
            if (_stopping || _process is null) return;
            try
            {
                _process.StandardInput.Write(AskForStatistics);
                _process.StandardInput.Flush();
            }
            catch (IOException)
            {
                // It has ended, and the next has done nothing yet.
            }
        }
    }

    /// <summary>Has it stop, and starts no other.</summary>
    internal void Stop()
    {
        lock (_lock)
        {
            _stopping = true;
            // One that still opens its device may wait for it, and has nothing in flight. Another ends at the end of its input.
            if (_isListening) _process?.StandardInput.Close();
            else _process?.Kill();
        }
    }

    public void Dispose()
    {
        Stop();
        _socket?.Dispose();
    }

    /// <summary>In such a process: does what the one that started it asks for, until it is asked to end, or that one has ended.</summary>
    internal static void ObeyIfIsolated(Action printStatistics, Action stop)
    {
        if (!IsOne) return;
        Stream input = Console.OpenStandardInput();
        new Thread(() =>
        {
            while (input.ReadByte() is >= 0 and var asked)
            {
                if (asked == AskForStatistics) printStatistics();
            }
            stop();
        })
        { IsBackground = true, Name = "isolated" }.Start();
    }

    /// <summary>Bytes of memory that no other process has (proc(5), RssAnon).</summary>
    internal static long OwnMemoryOf(int processId)
    {
        try
        {
            const string field = "RssAnon:";
            string line = File.ReadLines($"/proc/{processId}/status").First(line => line.StartsWith(field, StringComparison.Ordinal));
            return long.Parse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal), NumberStyles.AllowLeadingWhite
                | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture) << 10;
        }
        catch (Exception exception) when (exception is IOException or InvalidOperationException)
        {
            return 0;
        }
    }

    private Process? TryStart()
    {
        ProcessStartInfo start = new(Environment.ProcessPath!, _words) { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment[Mark] = "1";
        // The service manager is spoken to by one process.
        foreach (string ofManager in OfManager) start.Environment.Remove(ofManager);
        if (_socket is not null) start.Environment[SocketMark] = _socket.Number.ToString(CultureInfo.InvariantCulture);
        lock (Starting)
        {
            if (_socket is not null) ProcessDescriptors.SetInherited(_socket.Number, true);
            try
            {
                lock (_lock)
                {
                    _isListening = false;
                    return _stopping ? null : _process = Process.Start(start);
                }
            }
            finally
            {
                if (_socket is not null) ProcessDescriptors.SetInherited(_socket.Number, false);
            }
        }
    }

    /// <summary>Prints what it prints, in whole lines of a bounded length.</summary>
    private async Task RelayAsync(StreamReader output)
    {
        char[] piece = new char[LineCharactersMax];
        StringBuilder line = new();
        while (await output.ReadAsync(piece).ConfigureAwait(false) is > 0 and int count)
        {
            for (int i = 0; i < count; i++)
            {
                if (piece[i] == '\n') Print(line);
                else if (line.Length < LineCharactersMax) line.Append(piece[i]);
            }
        }
        if (line.Length > 0) Print(line);
    }

    private void Print(StringBuilder line)
    {
        string text = line.ToString();
        line.Clear();
        bool listens = text.StartsWith(Listening, StringComparison.Ordinal);
        _isListening |= listens;
        if (_isSuccessor && listens) return;
        Console.WriteLine(Printable.Of(text));
        if (listens) _listens.TrySetResult();
    }

    private static string HowItEnded(int exitCode) => exitCode > 128 ? $"signal {exitCode - 128}" : $"exit code {exitCode}";
}
