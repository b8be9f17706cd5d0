namespace Vmm.Devices.Kvm;

/// <summary>
/// The real-time signal that brings a thread out of KVM_RUN. A handler can't be managed code, so there is none: the signal is blocked in
/// every vCPU thread, let through only inside KVM_RUN (KVM_SET_SIGNAL_MASK), and taken off the thread's queue afterwards. Elsewhere it is
/// ignored, so that one sent to a thread whose number was reused does no harm.
/// </summary>
internal static class StopSignal
{
    // The runtime uses the first real-time signal (34) itself; debuggers and profilers use the ones next to it.
    private const int Number = 44;
    private const ulong Mask = 1UL << (Number - 1);
    private const nint SIG_IGN = 1;

    static StopSignal() => _ = SignalCalls.SetHandler(Number, SIG_IGN);

    /// <summary>The calling thread, as the kernel numbers it.</summary>
    internal static int CurrentThread => SignalCalls.GetThreadId();

    /// <summary>Blocks the signal in the calling thread and lets a vCPU see it inside of KVM_RUN.</summary>
    internal static void BlockHere(int vcpu)
    {
        Errno error = SignalCalls.Block(Mask, out ulong before);
        if (error != Errno.None) throw new KernelException("cannot block the signal that stops a vCPU", error);

        KvmSignalMask inside = new() { Length = sizeof(ulong), Set = before & ~Mask };
        if (KvmCall.Control(vcpu, KvmRequest.KVM_SET_SIGNAL_MASK, ref inside) < 0)
            throw new KernelException("KVM_SET_SIGNAL_MASK", CallResult.LastError);
    }

    /// <summary>Sends the signal to a thread of this process. A thread that has ended gets nothing.</summary>
    internal static void Send(int thread) => _ = SignalCalls.SendToThread(Environment.ProcessId, thread, Number);

    /// <summary>Takes pending signals off the calling thread's queue; the thread has the signal blocked.</summary>
    internal static void Drain()
    {
        // A real-time signal may be queued more than once.
        while (SignalCalls.TryTake(Mask) == Number)
        {
        }
    }
}
