using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Vmm.Devices;

/// <summary>
/// The thread of one vCPU: run guest code, hand the exit to the bus, run again, until the guest or the machine wants an end. Whatever
/// ends it, an exception too, is told to the machine; nothing escapes the thread.
/// </summary>
public sealed class VcpuThread : IDisposable
{
    private static readonly int KindCount = Enum.GetValues<VcpuExitKind>().Length;

    private readonly IVcpu _vcpu;
    private readonly Bus _mmio;
    private readonly Bus _port;
    private readonly Action<VcpuThread, VcpuEnd> _onEnd;
    private readonly ILogger _logger;
    private readonly Thread _thread;
    private readonly long[] _exits = new long[KindCount];
    private long _unhandled;
    private readonly ManualResetEventSlim _mayRun = new(initialState: true);
    private readonly ManualResetEventSlim _paused = new();
    private volatile bool _stopRequested;
    private bool _started;

    /// <summary>Makes the thread; <see cref="Start"/> starts it.</summary>
    /// <param name="vcpu">What it runs. It stays the caller's, who disposes it after <see cref="Join"/>.</param>
    /// <param name="mmio">The memory-mapped devices.</param>
    /// <param name="port">The port devices.</param>
    /// <param name="onEnd">Told once how the thread ends, as the last thing on it. It must not join it.</param>
    /// <param name="logger">Told of the first exit that nothing handles.</param>
    public VcpuThread(IVcpu vcpu, Bus mmio, Bus port, Action<VcpuThread, VcpuEnd> onEnd, ILogger? logger = null)
    {
        ArgumentNullException.ThrowIfNull(vcpu);
        ArgumentNullException.ThrowIfNull(mmio);
        ArgumentNullException.ThrowIfNull(port);
        ArgumentNullException.ThrowIfNull(onEnd);
        _vcpu = vcpu;
        _mmio = mmio;
        _port = port;
        _onEnd = onEnd;
        _logger = logger ?? NullLogger.Instance;
        // A guest that can't be stopped must not keep the process alive.
        _thread = new Thread(RunToEnd) { Name = $"vcpu{vcpu.Index}", IsBackground = true };
    }

    /// <summary>The vCPU's number.</summary>
    public int Index => _vcpu.Index;

    /// <summary>Exits that no device and no rule handled: answered with all ones, or dropped.</summary>
    public long UnhandledExits => Volatile.Read(ref _unhandled);

    /// <summary>Exits so far of a kind. Any thread.</summary>
    public long ExitCount(VcpuExitKind kind) => Volatile.Read(ref _exits[(int)kind]);

    /// <summary>Starts the thread, once.</summary>
    public void Start()
    {
        _thread.Start();
        _started = true;
    }

    /// <summary>Asks the thread to end, before or after its start, and does not wait. Any thread.</summary>
    public void RequestStop()
    {
        // The flag first: whoever comes out because of the request sees it.
        _stopRequested = true;
        _mayRun.Set();
        _vcpu.RequestExit();
    }

    /// <summary>Asks the thread to stand still between two guest instructions, before or after its start, and does not wait. Any thread.</summary>
    public void RequestPause()
    {
        _mayRun.Reset();
        _vcpu.RequestExit();
    }

    /// <summary>Waits until the thread stands still, or has ended.</summary>
    /// <returns>False if it still runs when the time is up.</returns>
    public bool WaitUntilPaused(TimeSpan timeout) => _paused.Wait(timeout);

    /// <summary>Lets the thread run on.</summary>
    public void Resume()
    {
        _paused.Reset();
        _mayRun.Set();
    }

    /// <summary>Waits for the thread's end.</summary>
    /// <returns>False if it still runs when the time is up.</returns>
    public bool Join(TimeSpan timeout) => !_started || _thread.Join(timeout);

    /// <summary>Stops the thread and waits for its end.</summary>
    public void Dispose()
    {
        RequestStop();
        Join(Timeout.InfiniteTimeSpan);
        _mayRun.Dispose();
        _paused.Dispose();
    }

    private void RunToEnd()
    {
        VcpuEnd end;
        try
        {
            end = Loop();
        }
        catch (Exception exception)
        {
            end = new VcpuEnd(VcpuEndReason.Failed, Failure: exception);
        }
        _paused.Set();
        _onEnd(this, end);
    }

    private VcpuEnd Loop()
    {
        while (!_stopRequested)
        {
            VcpuExit exit = _vcpu.Run();
            Volatile.Write(ref _exits[(int)exit.Kind], _exits[(int)exit.Kind] + 1);
            switch (exit.Kind)
            {
                case VcpuExitKind.MmioRead:
                    CountUnlessHandled(_mmio.Read(exit.Address, exit.Data), exit);
                    break;
                case VcpuExitKind.MmioWrite:
                    CountUnlessHandled(_mmio.Write(exit.Address, exit.Data), exit);
                    break;
                case VcpuExitKind.PortRead:
                case VcpuExitKind.PortWrite:
                    AccessPort(exit);
                    break;
                case VcpuExitKind.Halt:
                    return new VcpuEnd(VcpuEndReason.Halted);
                case VcpuExitKind.Shutdown:
                    return new VcpuEnd(VcpuEndReason.Shutdown);
                case VcpuExitKind.SystemEvent:
                    return new VcpuEnd(VcpuEndReason.SystemEvent, exit.Address);
                case VcpuExitKind.Failed:
                    return new VcpuEnd(VcpuEndReason.Failed, exit.Address);
                case VcpuExitKind.Interrupted:
                    // Here, and not after just any exit: an access that the vCPU asked for is behind it now.
                    if (!_mayRun.IsSet) StandStill();
                    break;
            }
        }
        return new VcpuEnd(VcpuEndReason.Stopped);
    }

    private void StandStill()
    {
        _paused.Set();
        _mayRun.Wait();
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
