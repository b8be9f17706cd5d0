namespace Vmm.Devices;

/// <summary>One viewer of a <see cref="ConsoleMirror"/>. One reader at a time.</summary>
internal sealed class ConsoleView
{
    private readonly ConsoleMirror _mirror;
    private long _at;

    internal ConsoleView(ConsoleMirror mirror, long at) => (_mirror, _at) = (mirror, at);

    /// <summary>Whether the viewer fell further behind than what is kept, and sees no more.</summary>
    internal bool IsCutOff { get; private set; }

    /// <summary>What is there now, without waiting.</summary>
    /// <returns>How many bytes; 0 if there are none now, or never will be.</returns>
    internal int Read(Span<byte> bytes) => Read(bytes, out _);

    /// <summary>What the guest printed next; waits until there is some.</summary>
    /// <param name="bytes">Room for it; at least 1.</param>
    /// <param name="cancel">Gives up.</param>
    /// <returns>How many bytes; 0 at the end of the console, or if the viewer was cut off.</returns>
    internal async ValueTask<int> ReadAsync(Memory<byte> bytes, CancellationToken cancel = default)
    {
        while (true)
        {
            int length = Read(bytes.Span, out Task? news);
            if (length > 0 || news is null) return length;
            await news.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    private int Read(Span<byte> bytes, out Task? news)
    {
        int length = _mirror.Read(ref _at, bytes, out bool isBehind, out news);
        IsCutOff |= isBehind;
        return length;
    }
}
