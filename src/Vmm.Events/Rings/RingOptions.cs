namespace Vmm.Events.Rings;

/// <summary>What carries out a ring's operations.</summary>
public enum RingEngine
{
    /// <summary>The kernel's ring where it works, else threads.</summary>
    Automatic,
    /// <summary>The kernel's ring (io_uring(7)), or an exception.</summary>
    Kernel,
    /// <summary>A small pool of threads and blocking calls.</summary>
    Threads,
}

/// <summary>How a ring behaves. Read once, when the ring is made.</summary>
public sealed record RingOptions
{
    /// <summary>What carries out the operations.</summary>
    public RingEngine Engine { get; init; } = RingEngine.Automatic;

    /// <summary>
    /// Submission entries, rounded up to a power of two. More operations than that wait their turn; they are not refused.
    /// </summary>
    public int SubmissionEntries { get; init; } = 256;

    /// <summary>Completion entries; 0 is four for each submission entry. Completions that find no room are kept by the kernel.</summary>
    public int CompletionEntries { get; init; }

    /// <summary>Most operations in the kernel's hands; the rest wait in the ring's own queue.</summary>
    public int OperationsMax { get; init; } = 32_768;

    /// <summary>Most files that are registered at a time.</summary>
    public int FilesMax { get; init; } = 256;

    /// <summary>Most slab pages, and GiB of other memory, that are registered at a time.</summary>
    public int BuffersMax { get; init; } = 256;

    /// <summary>Threads of the fall-back that carry out operations on files.</summary>
    public int Threads { get; init; } = 4;

    /// <summary>
    /// Called once for a ring with the reason why it runs on threads although the kernel's ring was wanted. By default a line on standard
    /// error, once a process.
    /// </summary>
    public Action<string> OnFallBack { get; init; } = SayOnce;

    /// <summary>
    /// Whether the kernel refuses all but reads, writes, flushes and allocations of files that are open, and time limits of these: what a
    /// ring does no filter of system calls (seccomp(2)) sees. What is refused completes with EACCES.
    /// </summary>
    public bool OnlyTransfers { get; init; }

    /// <summary>For tests: how the memory behaves that arguments are put into.</summary>
    internal Buffers.SlabPoolOptions? Scratch { get; init; }

    /// <summary>For tests: false to be as on a kernel that takes no vectors of registered memory.</summary>
    internal bool TakesFixedLists { get; init; } = true;

    /// <summary>For tests: what stands between the ring and its engine.</summary>
    internal Func<IRingEngine, IRingEngine> Decorate { get; init; } = static engine => engine;

    private static int _said;

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(OnFallBack);
        CheckRange(SubmissionEntries, 1, 32_768);
        CheckRange(CompletionEntries, 0, 65_536);
        CheckRange(OperationsMax, 1, 1 << 20);
        CheckRange(FilesMax, 1, 32_768);
        CheckRange(BuffersMax, 1, 16_384);
        CheckRange(Threads, 1, 64);
    }

    private static void CheckRange(int value, int min, int max,
        [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(value))] string? name = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, min, name);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, max, name);
    }

    private static void SayOnce(string reason)
    {
        if (Interlocked.Exchange(ref _said, 1) == 0) Console.Error.WriteLine(reason);
    }
}

/// <summary>What a ring did since it was made.</summary>
/// <param name="Operations">Operations begun.</param>
/// <param name="Completions">Completions delivered.</param>
/// <param name="Submissions">Calls into the kernel that submitted.</param>
/// <param name="Held">Operations that had to wait for room.</param>
/// <param name="Overflows">Times completions had found no room and were fetched from the kernel's own list.</param>
public readonly record struct RingStatistics(long Operations, long Completions, long Submissions, long Held, long Overflows);
