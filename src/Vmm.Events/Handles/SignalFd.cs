using System.Numerics;

namespace Vmm.Events;

/// <summary>
/// Signals of the process as a descriptor that is readable while one of them is pending. While it is open, what such a signal would do by
/// default, such as to end the process, does not happen; the runtime goes on to collect the exit codes of children on SIGCHLD.
/// </summary>
/// <remarks>
/// It takes the signals from the runtime and is an eventfd to the kernel. signalfd(2) sees a signal only if every thread of the process
/// blocks it, and a program can't have the runtime's own threads, which run before it, do that. A signal that the process was started to
/// ignore, as SIGHUP under nohup(1), stays ignored.
/// </remarks>
/// <example><c>Interest.Readable.WithFd(new SignalFd(PosixSignal.SIGTERM)).WithHandler((SignalFd fd, IReactor reactor) => …)</c></example>
public sealed class SignalFd : OwnedFd
{
    /// <summary>Most signals of one descriptor: those that Linux has.</summary>
    private const int SignalsMax = 64;

    private readonly PosixSignal[] _signals;
    private readonly PosixSignalRegistration[] _registrations;
    private ulong _pending;

    /// <summary>Takes over signals of the process.</summary>
    /// <param name="signals">Which; also by their raw number.</param>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    /// <exception cref="IOException">The signal cannot be handled.</exception>
    public SignalFd(params ReadOnlySpan<PosixSignal> signals) : base(Create(signals))
    {
        _signals = signals.ToArray();
        _registrations = new PosixSignalRegistration[_signals.Length];
        try
        {
            for (int i = 0; i < _signals.Length; i++)
            {
                ulong bit = 1UL << i;
                _registrations[i] = PosixSignalRegistration.Create(_signals[i], context => Arrived(context, bit));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Takes a pending signal. A signal that arrived more than once since is taken once, as the kernel does.</summary>
    /// <returns>False if none is pending.</returns>
    public bool TryRead(out PosixSignal signal)
    {
        if (!TryTake(out int index))
        {
            // Drained before the second look: a signal that arrives after it makes the descriptor readable again.
            _ = Libc.ReadCounter(Number, out _);
            if (!TryTake(out index))
            {
                signal = default;
                return false;
            }
        }
        signal = _signals[index];
        return true;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        foreach (PosixSignalRegistration? registration in _registrations ?? []) registration?.Dispose();
        return base.ReleaseHandle();
    }

    private bool TryTake(out int index)
    {
        ulong pending = Volatile.Read(ref _pending);
        index = BitOperations.TrailingZeroCount(pending);
        if (pending == 0) return false;
        Interlocked.And(ref _pending, ~(1UL << index));
        return true;
    }

    /// <summary>On a thread of the runtime.</summary>
    private void Arrived(PosixSignalContext context, ulong bit)
    {
        // The runtime reaps the children that were started through it, unless a handler cancels the signal.
        context.Cancel = context.Signal != PosixSignal.SIGCHLD;
        Interlocked.Or(ref _pending, bit);
        bool held = false;
        try
        {
            DangerousAddRef(ref held);
            _ = Libc.WriteCounter((int)handle, 1);
        }
        catch (ObjectDisposedException)
        {
            // Closed while the signal was delivered.
        }
        finally
        {
            if (held) DangerousRelease();
        }
    }

    private static int Create(ReadOnlySpan<PosixSignal> signals)
    {
        Platform.ThrowIfForeign();
        if (signals.Length is 0 or > SignalsMax)
            throw new ArgumentException($"name 1 to {SignalsMax} signals, not {signals.Length}", nameof(signals));
        int fd = Libc.CreateEventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        return fd >= 0 ? fd : throw new KernelException("cannot create an eventfd for signals", Libc.LastError);
    }
}
