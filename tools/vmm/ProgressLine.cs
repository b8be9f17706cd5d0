using System.Diagnostics;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Shows on a terminal how far something is that takes longer than a moment, in a line that is written over itself and gone at the end.
/// Writes nothing where standard error is no terminal. For one thread.
/// </summary>
/// <param name="patience">How long it is silent, and between two changes.</param>
/// <param name="what">What is done.</param>
internal sealed class ProgressLine(TimeSpan patience, string what) : IProgress<SnapshotProgress>
{
    private const string EraseLine = "\r\u001b[K";

    private long _last = Stopwatch.GetTimestamp();
    private bool _shown;

    public void Report(SnapshotProgress value)
    {
        if (value.BytesTotal > 0)
            Report($"{value.BytesDone >> 20} of {value.BytesTotal >> 20} MiB, {100 * value.BytesDone / value.BytesTotal} %");
    }

    /// <summary>Says how far it is, if there was nothing for a while.</summary>
    internal void Report(FormattableString howFar)
    {
        if (Console.IsErrorRedirected || Stopwatch.GetElapsedTime(_last) < patience) return;
        _last = Stopwatch.GetTimestamp();
        _shown = true;
        Console.Error.Write($"{EraseLine}{what}: {howFar.ToString(CultureInfo.InvariantCulture)}");
    }

    /// <summary>Takes the line away.</summary>
    internal void End()
    {
        if (_shown) Console.Error.Write(EraseLine);
        _shown = false;
    }
}
