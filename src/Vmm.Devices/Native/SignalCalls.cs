namespace Vmm.Devices.Native;

/// <summary>
/// Signals of threads: sigaction(2), signal(2), tgkill(2), pthread_sigmask(3), sigtimedwait(2). A set of signals is a mask here: bit N - 1
/// is signal N, of the first 64.
/// </summary>
internal static unsafe partial class SignalCalls
{
    private const string Name = "libc";
    private const int SIG_BLOCK = 0;
    private const int SignalSetBytes = 128;

    /// <summary>Blocks signals in the calling thread, and gives those that it had blocked until now.</summary>
    internal static Errno Block(ulong signals, out ulong before)
    {
        ulong* set = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        ulong* old = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        Fill(set, signals);
        // SAFETY: both are sigset_t of glibc, 128 bytes, on this stack.
        int error = SetThreadMask(SIG_BLOCK, set, old);
        before = old[0];
        return (Errno)error;
    }

    /// <summary>Takes one pending signal off the calling thread's queue, which has it blocked. Does not wait.</summary>
    /// <returns>Its number; less than 1 if none of these is pending.</returns>
    internal static int TryTake(ulong signals)
    {
        ulong* set = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        Fill(set, signals);
        long* now = stackalloc long[2];
        now[0] = now[1] = 0;
        // SAFETY: a sigset_t and a struct timespec of zero on this stack: the call polls.
        return WaitForSignal(set, null, now);
    }

    private static void Fill(ulong* set, ulong signals)
    {
        // SAFETY: the callers' sets have this many bytes.
        new Span<byte>(set, SignalSetBytes).Clear();
        set[0] = signals;
    }

    [LibraryImport(Name, EntryPoint = "gettid")]
    internal static partial int GetThreadId();

    [LibraryImport(Name, EntryPoint = "tgkill")]
    internal static partial int SendToThread(int process, int thread, int signal);

    [LibraryImport(Name, EntryPoint = "signal")]
    internal static partial nint SetHandler(int signal, nint handler);

    [LibraryImport(Name, EntryPoint = "sigaction", SetLastError = true)]
    internal static partial int SetAction(int signal, SignalAction* action, SignalAction* before);

    [LibraryImport(Name, EntryPoint = "pthread_sigmask")]
    private static partial int SetThreadMask(int how, ulong* set, ulong* old);

    [LibraryImport(Name, EntryPoint = "sigtimedwait")]
    private static partial int WaitForSignal(ulong* set, void* info, long* timeout);
}

/// <summary>struct sigaction of glibc on x86-64 (sigaction(2)).</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct SignalAction
{
    /// <summary>SA_SIGINFO.</summary>
    internal const int WithInformation = 4;

    [FieldOffset(0)] internal nint Handler;
    [FieldOffset(136)] internal int Flags;
}
