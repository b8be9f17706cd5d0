using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// The real-time signal that brings a thread out of KVM_RUN. A handler can't be managed code, so there is none: the signal is blocked in
/// every vCPU thread, let through only inside KVM_RUN (KVM_SET_SIGNAL_MASK), and taken off the thread's queue afterwards. Elsewhere it is
/// ignored, so that one sent to a thread whose number was reused does no harm.
/// </summary>
internal static unsafe partial class StopSignal
{
    // The runtime uses the first real-time signal (34) itself; debuggers and profilers use the ones next to it.
    private const int Number = 44;
    private const ulong Mask = 1UL << (Number - 1);
    private const int SIG_BLOCK = 0;
    private const nint SIG_IGN = 1;
    private const int SignalSetBytes = 128;

    static StopSignal() => _ = SetHandler(Number, SIG_IGN);

    /// <summary>The calling thread, as the kernel numbers it.</summary>
    internal static int CurrentThread => GetThreadId();

    /// <summary>Blocks the signal in the calling thread and lets a vCPU see it inside of KVM_RUN.</summary>
    internal static void BlockHere(int vcpu)
    {
        ulong* set = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        ulong* old = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        new Span<byte>(set, SignalSetBytes).Clear();
        set[0] = Mask;
        // SAFETY: both are sigset_t of glibc, 128 bytes, on this stack.
        int error = SetThreadMask(SIG_BLOCK, set, old);
        if (error != 0) throw new KernelException("cannot block the signal that stops a vCPU", (Errno)error);

        KvmSignalMask inside = new() { Length = sizeof(ulong), Set = old[0] & ~Mask };
        if (KvmCall.Control(vcpu, KvmRequest.KVM_SET_SIGNAL_MASK, ref inside) < 0)
            throw new KernelException("KVM_SET_SIGNAL_MASK", KvmCall.LastError);
    }

    /// <summary>Sends the signal to a thread of this process. A thread that has ended gets nothing.</summary>
    internal static void Send(int thread) => _ = SendToThread(Environment.ProcessId, thread, Number);

    /// <summary>Takes pending signals off the calling thread's queue; the thread has the signal blocked.</summary>
    internal static void Drain()
    {
        ulong* set = stackalloc ulong[SignalSetBytes / sizeof(ulong)];
        new Span<byte>(set, SignalSetBytes).Clear();
        set[0] = Mask;
        long* now = stackalloc long[2];
        now[0] = now[1] = 0;
        // SAFETY: a sigset_t and a struct timespec of zero on this stack: the call polls. A real-time signal may be queued more than once.
        while (WaitForSignal(set, null, now) == Number)
        {
        }
    }

    [LibraryImport("libc", EntryPoint = "gettid")]
    private static partial int GetThreadId();

    [LibraryImport("libc", EntryPoint = "tgkill")]
    private static partial int SendToThread(int process, int thread, int signal);

    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    private static partial int SetThreadMask(int how, ulong* set, ulong* old);

    [LibraryImport("libc", EntryPoint = "sigtimedwait")]
    private static partial int WaitForSignal(ulong* set, void* info, long* timeout);

    [LibraryImport("libc", EntryPoint = "signal")]
    private static partial nint SetHandler(int signal, nint handler);
}
