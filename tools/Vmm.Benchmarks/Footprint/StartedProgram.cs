using System.Diagnostics;
using System.Net.Sockets;

namespace Vmm.Benchmarks;

/// <summary>A program that is started over and over until it is so far: how long that takes, and how much of a processor.</summary>
/// <param name="name">As it is printed.</param>
/// <param name="mark">What is waited for.</param>
/// <param name="command">The command line.</param>
internal sealed class StartedProgram(string name, ProcessMark mark, params string[] command)
{
    private readonly List<double> _wall = [], _processor = [];

    internal string Name => name;

    internal ProcessMark Mark => mark;

    /// <summary>The most it may take of what the least .NET program takes; null for no bound.</summary>
    internal double? BoundByDotnet { get; init; }

    /// <summary>What takes a connection in the end.</summary>
    internal string Socket { get; init; } = "";

    /// <summary>Median, in milliseconds.</summary>
    internal double Wall => _wall.Order().ElementAt(_wall.Count / 2);

    /// <summary>Median, in milliseconds.</summary>
    internal double Processor => _processor.Order().ElementAt(_processor.Count / 2);

    internal void Run()
    {
        if (mark == ProcessMark.Socket) File.Delete(Socket);
        TimeSpan before = MeasuredProcess.ProcessorTimeOfEnded;
        long start = Stopwatch.GetTimestamp();
        using (MeasuredProcess process = new(command))
        {
            if (mark == ProcessMark.Socket) WaitForSocket(process, Socket);
            else process.ReadByte();
            if (mark == ProcessMark.End) process.WaitForExit();
            _wall.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
        _processor.Add((MeasuredProcess.ProcessorTimeOfEnded - before).TotalMilliseconds);
    }

    /// <summary>Waits until a connection is taken at a path.</summary>
    /// <param name="process">The process that is to listen there.</param>
    /// <param name="path">Where.</param>
    /// <param name="between">
    /// Between two looks. Without a pause they take a processor, and hold up a process that makes many sockets in the same directory.
    /// </param>
    internal static void WaitForSocket(MeasuredProcess process, string path, TimeSpan between = default)
    {
        UnixDomainSocketEndPoint address = new(path);
        while (true)
        {
            using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                // An attempt that fails is an exception: not before there is something to connect to.
                if (File.Exists(path))
                {
                    socket.Connect(address);
                    return;
                }
            }
            catch (SocketException)
            {
                // It is bound, and does not listen yet.
            }
            if (process.HasExited) throw new IOException($"it ended before it listened at '{path}'");
            if (between == TimeSpan.Zero) Thread.Yield();
            else Thread.Sleep(between);
        }
    }
}
