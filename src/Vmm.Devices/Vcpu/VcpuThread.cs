using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Devices.Sandbox;

namespace Vmm.Devices;

/// <summary>
/// The thread of one vCPU: run guest code, hand the exit to the bus, run again, until the guest or the machine wants an end. Whatever
/// ends it, an exception too, is reported to the machine; nothing escapes the thread.
/// </summary>
public sealed class VcpuThread : IDisposable
{
    private const int KindCount = (int)VcpuExitKind.Failed + 1;

    /// <summary>Exits that are remembered; a power of two.</summary>
    private const int LastExitsMax = 8;

    private readonly IVcpu _vcpu;
    private readonly Bus _mmio;
    private readonly Bus _port;
    private readonly Action<VcpuThread, VcpuEnd> _onEnd;
    private readonly ILogger _logger;
    private readonly Thread _thread;
    private readonly int? _cpu;
    private readonly long[] _exits = new long[KindCount];
    private readonly (VcpuExitKind Kind, ulong Address, int Width)[] _last = new (VcpuExitKind, ulong, int)[LastExitsMax];
    private int _lastCount;
    private long _unhandled;
    /// <summary>Guards the four below, and is waited on for their changes.</summary>
    private readonly object _standing = new();
    private bool _pauseRequested;
    private bool _standsStill;
    private bool _ended;
    private bool _started;
    private volatile bool _stopRequested;

    /// <summary>Makes the thread; <see cref="Start"/> starts it.</summary>
    /// <param name="vcpu">What it runs. It stays the caller's, who disposes it after <see cref="Join"/>.</param>
    /// <param name="mmio">The memory-mapped devices.</param>
    /// <param name="port">The port devices.</param>
    /// <param name="onEnd">Called once with how the thread ends, as the last thing on it. It must not join it.</param>
    /// <param name="logger">Gets the first exit that nothing handles.</param>
    /// <param name="cpu">The host's processor the thread is kept on; null: the scheduler decides.</param>
    public VcpuThread(
        IVcpu vcpu, Bus mmio, Bus port, Action<VcpuThread, VcpuEnd> onEnd, ILogger? logger = null, int? cpu = null)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        ArgumentNullException.ThrowIfNull(mmio);
        ArgumentNullException.ThrowIfNull(port);
        ArgumentNullException.ThrowIfNull(onEnd);
        _vcpu = vcpu;
        _mmio = mmio;
        _port = port;
        _onEnd = onEnd;
        _cpu = cpu;
        _logger = SteadyLogger.Over(logger ?? NullLogger.Instance);
        // A guest that can't be stopped must not keep the process alive.
        _thread = new Thread(RunToEnd) { Name = $"vcpu{vcpu.Index}", IsBackground = true };
    }

    /// <summary>The vCPU's number.</summary>
    public int Index => _vcpu.Index;

    /// <summary>Exits that no device and no rule handled: answered with all ones, or dropped.</summary>
    public long UnhandledExits => Volatile.Read(ref _unhandled);

    /// <summary>
    /// The last exits, the latest first: <c>PortWrite 1 at 0x3f8, MmioRead 4 at 0xd0000070</c>. For a thread that stands still or has
    /// ended.
    /// </summary>
    public string LastExits => _lastCount == 0
        ? "none"
        : string.Join(", ", Enumerable.Range(1, Math.Min(_lastCount, LastExitsMax))
            .Select(back => Describe(_last[(_lastCount - back) & (LastExitsMax - 1)])));

    /// <summary>Exits so far of a kind. Any thread.</summary>
    public long ExitCount(VcpuExitKind kind) => Volatile.Read(ref _exits[(int)kind]);

    /// <summary>Starts the thread, once.</summary>
    public void Start()
    {
        lock (_standing)
        {
            // In this order: a thread that the host refuses is not waited for.
            _thread.Start();
            _started = true;
        }
    }

    /// <summary>Asks the thread to end, before or after its start, and does not wait. Any thread.</summary>
    public void RequestStop()
    {
        // The flag first: a vCPU that leaves the guest because of the request sees it.
        _stopRequested = true;
        Resume();
        _vcpu.RequestExit();
    }

    /// <summary>
    /// Asks the thread to stand still between two guest instructions, before or after its start, and does not wait. Any thread.
    /// </summary>
    public void RequestPause()
    {
        lock (_standing) _pauseRequested = true;
        _vcpu.RequestExit();
    }

    /// <summary>Waits until the thread stands still, or has ended. One that was not started stands still.</summary>
    /// <returns>False if it still runs when the time is up.</returns>
    public bool WaitUntilPaused(TimeSpan timeout)
    {
        long start = Stopwatch.GetTimestamp();
        lock (_standing)
        {
            while (_started && !_standsStill && !_ended)
            {
                TimeSpan left = timeout - Stopwatch.GetElapsedTime(start);
                if (left <= TimeSpan.Zero || !Monitor.Wait(_standing, left)) return _standsStill || _ended;
            }
            return true;
        }
    }

    /// <summary>Lets the thread run on.</summary>
    public void Resume()
    {
        lock (_standing)
        {
            _pauseRequested = false;
            Monitor.PulseAll(_standing);
        }
    }

    /// <summary>Waits for the thread's end.</summary>
    /// <returns>False if it still runs when the time is up.</returns>
    public bool Join(TimeSpan timeout)
    {
        lock (_standing) if (!_started) return true;
        return _thread.Join(timeout);
    }

    /// <summary>Stops the thread and waits for its end.</summary>
    public void Dispose()
    {
        RequestStop();
        Join(Timeout.InfiniteTimeSpan);
    }

    private void RunToEnd()
    {
        VcpuEnd end;
        try
        {
            if (_cpu is { } cpu) Processors.PinCallingThread(cpu, _thread.Name!);
            ProcessSandbox.EnterThread(ThreadKind.Vcpu);
            end = Loop();
        }
        catch (Exception exception)
        {
            end = new VcpuEnd(VcpuEndReason.Failed, Failure: exception);
        }
        lock (_standing)
        {
            _ended = true;
            Monitor.PulseAll(_standing);
        }
        _onEnd(this, end);
    }

    private VcpuEnd Loop()
    {
        while (!_stopRequested)
        {
            if (!TryRunOnce(out VcpuEnd end)) return end;
        }
        return new VcpuEnd(VcpuEndReason.Stopped);
    }

    /// <summary>Runs the guest up to its next exit, and serves that. On the vCPU's own thread.</summary>
    /// <returns>False if it was the last.</returns>
    internal bool TryRunOnce(out VcpuEnd end)
    {
        end = default;
        VcpuExit exit = _vcpu.Run();
        Volatile.Write(ref _exits[(int)exit.Kind], _exits[(int)exit.Kind] + 1);
        _last[_lastCount++ & (LastExitsMax - 1)] = (exit.Kind, exit.Address, exit.Width);
        switch (exit.Kind)
        {
            case VcpuExitKind.MmioRead:
                CountUnlessHandled(_mmio.Read(exit.Address, exit.Data), exit);
                return true;
            case VcpuExitKind.MmioWrite:
                CountUnlessHandled(_mmio.Write(exit.Address, exit.Data), exit);
                return true;
            case VcpuExitKind.PortRead:
            case VcpuExitKind.PortWrite:
                AccessPort(exit);
                return true;
            case VcpuExitKind.Interrupted:
                // Here, and not after just any exit: an access that the vCPU asked for is behind it now.
                StandStillIfAsked();
                return true;
            default:
                end = exit.Kind switch
                {
                    VcpuExitKind.Halt => new VcpuEnd(VcpuEndReason.Halted),
                    VcpuExitKind.Shutdown => new VcpuEnd(VcpuEndReason.Shutdown),
                    VcpuExitKind.SystemEvent => new VcpuEnd(VcpuEndReason.SystemEvent, exit.Address),
                    _ => new VcpuEnd(VcpuEndReason.Failed, exit.Address),
                };
                return false;
        }
    }

    private static string Describe((VcpuExitKind Kind, ulong Address, int Width) exit) =>
        exit.Width == 0 ? $"{exit.Kind}" : $"{exit.Kind} {exit.Width} at 0x{exit.Address:x}";

    private void StandStillIfAsked()
    {
        lock (_standing)
        {
            _standsStill = _pauseRequested;
            if (_standsStill) Monitor.PulseAll(_standing);
            while (_pauseRequested) Monitor.Wait(_standing);
            _standsStill = false;
        }
    }

    /// <summary>One port access, or one after the other if the guest asked for a string of them.</summary>
    private void AccessPort(in VcpuExit exit)
    {
        bool handled = true;
        for (Span<byte> rest = exit.Data; rest.Length >= exit.Width; rest = rest[exit.Width..])
        {
            Span<byte> data = rest[..exit.Width];
            handled &= exit.Kind == VcpuExitKind.PortRead ? _port.Read(exit.Address, data) : _port.Write(exit.Address, data);
        }
        CountUnlessHandled(handled, exit);
    }

    private void CountUnlessHandled(bool handled, in VcpuExit exit)
    {
        if (handled) return;
        if (_unhandled == 0)
            _logger.LogWarning("vCPU {Index}: {Kind} of {Width} bytes at 0x{Address:x} reaches no device; later ones are only counted",
                Index, exit.Kind, exit.Width, exit.Address);
        Volatile.Write(ref _unhandled, _unhandled + 1);
    }
}
