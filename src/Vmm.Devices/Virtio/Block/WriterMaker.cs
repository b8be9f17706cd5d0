using System.Diagnostics.CodeAnalysis;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Makes the writers of queues, on a thread of its own that the process has once: the start of a thread allocates, which the thread of a
/// reactor does not while it runs. Any thread.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "There is one, for the life of the process.")]
internal sealed class WriterMaker
{
    private const int StackBytes = 256 << 10;

    private static readonly TimeSpan Long = TimeSpan.FromDays(1);
    private static readonly Lazy<WriterMaker> OfProcess = new(() => new WriterMaker());

    private readonly EventFd _wake = new();
    /// <summary>A list with the newest first, pushed to and taken whole.</summary>
    private RingBlockEngine? _asking;

    private WriterMaker() => new Thread(Serve, StackBytes) { IsBackground = true, Name = "writers" }.Start();

    /// <summary>The process's; made when it is first asked for.</summary>
    internal static WriterMaker Instance => OfProcess.Value;

    /// <summary>Has an engine get its writer soon. Once for each engine.</summary>
    internal void Ask(RingBlockEngine engine)
    {
        do engine.NextAsking = Volatile.Read(ref _asking);
        while (Interlocked.CompareExchange(ref _asking, engine, engine.NextAsking) != engine.NextAsking);
        _wake.Signal();
    }

    private void Serve()
    {
        while (true)
        {
            StreamSocket.WaitReadable(_wake.Number, Long);
            _wake.TryRead(out _);
            for (RingBlockEngine? next = Interlocked.Exchange(ref _asking, null); next is { } engine; next = engine.NextAsking)
                engine.MakeWriter();
        }
    }
}
