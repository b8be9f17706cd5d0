using System.Diagnostics;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>Shows on a terminal how far something is that takes longer than a moment.</summary>
/// <param name="patience">How long it is silent, and between two changes.</param>
/// <param name="what">What is done.</param>
internal sealed class ProgressLine(TimeSpan patience, string what) : IProgress<SnapshotProgress>
{
    private long _last = Stopwatch.GetTimestamp();
    private bool _shown;

    public void Report(SnapshotProgress value)
    {
        if (Console.IsErrorRedirected || value.BytesTotal == 0 || Stopwatch.GetElapsedTime(_last) < patience) return;
        _last = Stopwatch.GetTimestamp();
        _shown = true;
        Console.Error.Write(string.Create(CultureInfo.InvariantCulture,
            $"\r{what}: {value.BytesDone >> 20} of {value.BytesTotal >> 20} MiB, {100 * value.BytesDone / value.BytesTotal} % "));
    }

    /// <summary>Ends the line.</summary>
    internal void End()
    {
        if (_shown) Console.Error.WriteLine();
    }
}
