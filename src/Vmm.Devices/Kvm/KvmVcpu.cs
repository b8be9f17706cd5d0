namespace Vmm.Devices.Kvm;

/// <summary>
/// A vCPU of KVM. <see cref="Run"/> belongs to one thread, which should be the vCPU's own: it has a real-time signal blocked from then on.
/// Register access is for a vCPU that does not run.
/// </summary>
public sealed partial class KvmVcpu : IVcpu
{
    private const ulong HypercallNotImplemented = unchecked((ulong)-1000L);
    private const int NotStarted = 0;

    private readonly KvmSystem _system;
    private readonly OwnedFd _fd;
    private readonly KvmRunArea _area;
    private readonly Lock _exitLock = new();
    private readonly int _number;
    private int _thread = NotStarted;
    private Thread? _runner;
    private int _exitRequested;
    private bool _disposed;

    internal KvmVcpu(KvmSystem system, int index, OwnedFd fd)
    {
        _system = system;
        Index = index;
        _fd = fd;
        _number = fd.Number;
        _area = new KvmRunArea(_number, system.RunAreaLength);
    }

    internal KvmSystem System => _system;

    /// <inheritdoc/>
    public int Index { get; }

    /// <summary>Why the last exit was <see cref="VcpuExitKind.Failed"/>: a sentence.</summary>
    public string? Failure { get; private set; }

    /// <inheritdoc/>
    public VcpuExit Run()
    {
        if (_runner != Thread.CurrentThread) Bind();
        while (true)
        {
            Errno errno = KvmCall.Run(_number);
            if (errno == Errno.None)
            {
                if (TryTakeExit(out VcpuExit exit)) return exit;
                continue;
            }
            if (errno == Errno.Interrupted)
            {
                if (TakeRequest()) return Ended(VcpuExitKind.Interrupted, 0);
            }
            else if (errno != Errno.Again)
            {
                // EAGAIN: a vCPU that waited to be started got its start-up message. Anything else is for good.
                return Fail((ulong)errno, $"KVM_RUN: {new KernelException("the vCPU can't go on", errno).Message}");
            }
        }
    }

    /// <inheritdoc/>
    public void RequestExit()
    {
        lock (_exitLock)
        {
            if (_disposed) return;
            // In this order: a thread that finds the vCPU interrupted finds the request, and a run that starts after this stops at once.
            Interlocked.Exchange(ref _exitRequested, 1);
            _area.SetImmediateExit(true);
            int thread = Volatile.Read(ref _thread);
            if (thread != NotStarted) StopSignal.Send(thread);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_exitLock)
        {
            if (_disposed) return;
            _disposed = true;
            _area.Dispose();
            _fd.Dispose();
        }
    }

    private void Bind()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        StopSignal.BlockHere(_number);
        _runner = Thread.CurrentThread;
        Volatile.Write(ref _thread, StopSignal.CurrentThread);
        // A request made before this thread was known sent no signal: it stops the next run by the flag in the run area.
    }

    /// <summary>Takes the request that interrupted the vCPU, if it was one: the runtime's own signals interrupt it too.</summary>
    private bool TakeRequest()
    {
        StopSignal.Drain();
        _area.SetImmediateExit(false);
        // A request made in between sets both again, after this exchange or before it: it is seen here or by the next run.
        return Interlocked.Exchange(ref _exitRequested, 0) != 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTakeExit(out VcpuExit exit)
    {
        ref KvmRun run = ref _area.Run;
        if (run.ExitReason == KvmExitReason.Mmio)
        {
            VcpuExitKind kind = run.Mmio.IsWrite != 0 ? VcpuExitKind.MmioWrite : VcpuExitKind.MmioRead;
            Span<byte> data = _area.MmioData(run.Mmio.Length);
            exit = new VcpuExit(kind, run.Mmio.Address, data, data.Length);
            return true;
        }
        if (run.ExitReason == KvmExitReason.Io)
        {
            VcpuExitKind kind = run.Io.Direction != 0 ? VcpuExitKind.PortWrite : VcpuExitKind.PortRead;
            exit = new VcpuExit(kind, run.Io.Port, _area.PortData(run.Io), run.Io.Size);
            return true;
        }
        return TryTakeRareExit(ref run, out exit);
    }

    /// <summary>An exit that is no access to a device.</summary>
    /// <returns>False if it was answered here and the vCPU runs on.</returns>
    internal bool TryTakeRareExit(ref KvmRun run, out VcpuExit exit)
    {
        exit = default;
        switch (run.ExitReason)
        {
            case KvmExitReason.Halt:
                exit = Ended(VcpuExitKind.Halt, 0);
                return true;
            case KvmExitReason.Shutdown:
                exit = Ended(VcpuExitKind.Shutdown, 0);
                return true;
            case KvmExitReason.SystemEvent:
                exit = Ended(VcpuExitKind.SystemEvent, run.SystemEvent.Type);
                return true;
            case KvmExitReason.FailEntry:
                exit = Fail(run.HardwareReason, $"the processor refused to enter the guest, hardware reason {run.HardwareReason:x}");
                return true;
            case KvmExitReason.InternalError:
                exit = Fail(run.InternalError.SubError, DescribeInternalError(run.InternalError));
                return true;
            case KvmExitReason.Hypercall:
                run.Hypercall.Result = HypercallNotImplemented;
                return false;
            case KvmExitReason.ReadMsr or KvmExitReason.WriteMsr:
                // Answered with a general protection fault in the guest, as a processor that does not have the register.
                run.Msr.Error = 1;
                return false;
            case KvmExitReason.InterruptWindow or KvmExitReason.Interrupted or KvmExitReason.SetTpr or KvmExitReason.TprAccess
                or KvmExitReason.IoapicEoi or KvmExitReason.BusLock or KvmExitReason.Notify or KvmExitReason.Debug:
                // Reports that were not asked for and need no answer.
                return false;
            default:
                exit = Fail((ulong)run.ExitReason,
                    $"KVM stopped the vCPU for reason {(uint)run.ExitReason}, which this program does not know");
                return true;
        }
    }

    private static VcpuExit Ended(VcpuExitKind kind, ulong detail) => new(kind, detail, default, 0);

    private VcpuExit Fail(ulong reason, string sentence)
    {
        Failure = $"vCPU {Index}: {sentence}";
        return Ended(VcpuExitKind.Failed, reason);
    }

    private string DescribeInternalError(in KvmRunInternalError error)
    {
        string what = error.SubError switch
        {
            1 => "KVM could not emulate an instruction",
            2 => "a second exception came while one was delivered",
            3 => "KVM could not deliver an event",
            4 => "KVM met an exit of the processor that it does not expect",
            _ => $"internal error {error.SubError} of KVM",
        };
        return $"{what}, at {GetRegisters().Rip:x}";
    }
}
