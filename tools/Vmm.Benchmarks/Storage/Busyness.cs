using System.Diagnostics;

namespace Vmm.Benchmarks;

/// <summary>
/// How busy a process is while something else loads it, in short spans of time: the pauses of a load count for themselves.
/// </summary>
internal sealed class Busyness : IDisposable
{
    private static readonly TimeSpan Span = TimeSpan.FromMilliseconds(200);

    private readonly MeasuredProcess _process;
    private readonly List<double> _spans = [];
    private readonly Thread _thread;
    private volatile bool _isOver;

    internal Busyness(MeasuredProcess process)
    {
        _process = process;
        _thread = new Thread(Watch) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>
    /// Processors that it used in the busier half of the time, which is that of the busier of two clients: the median of these spans.
    /// </summary>
    internal double Typical()
    {
        Dispose();
        return _spans.Count == 0 ? 0 : _spans.Order().ElementAt(_spans.Count * 3 / 4);
    }

    public void Dispose()
    {
        _isOver = true;
        _thread.Join();
    }

    private void Watch()
    {
        while (!_isOver)
        {
            TimeSpan before = _process.ProcessorTime;
            long start = Stopwatch.GetTimestamp();
            Thread.Sleep(Span);
            _spans.Add((_process.ProcessorTime - before) / Stopwatch.GetElapsedTime(start));
        }
    }
}
