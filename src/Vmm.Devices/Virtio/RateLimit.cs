namespace Vmm.Devices;

/// <summary>
/// Two token buckets, one of operations and one of bytes, of a device or of several that share them. A request passes while both have a
/// token; what it takes more than there is has to be made up for before the next one passes, so that the rate is met however large requests
/// are. Thread-safe.
/// </summary>
public sealed class RateLimit
{
    /// <summary>How much of its rate a bucket saves up, unless it is given another time.</summary>
    public static readonly TimeSpan BurstStandard = TimeSpan.FromMilliseconds(100);

    /// <summary>Seconds by which sums of tokens may be off.</summary>
    private const double Rounding = 1e-9;

    private readonly TimeProvider _clock;
    private readonly long _start;
    private readonly Lock _lock = new();
    private readonly HashSet<Action> _waiting = [];
    private long _operationsPerSecond, _bytesPerSecond;
    private double _burst;

    /// <summary>Seconds since the start up to which what was taken is paid for.</summary>
    private double _operationsPaid, _bytesPaid;

    /// <summary>Makes a limit.</summary>
    /// <param name="operationsPerSecond">Operations a second; 0 for no limit.</param>
    /// <param name="bytesPerSecond">Bytes a second; 0 for no limit.</param>
    /// <param name="burst">How much of its rate a bucket saves up while it is not used; null for <see cref="BurstStandard"/>.</param>
    /// <param name="clock">What measures the time; null for the system's.</param>
    public RateLimit(long operationsPerSecond = 0, long bytesPerSecond = 0, TimeSpan? burst = null, TimeProvider? clock = null)
    {
        _clock = clock ?? TimeProvider.System;
        _start = _clock.GetTimestamp();
        Change(operationsPerSecond, bytesPerSecond, burst);
    }

    /// <summary>Operations a second; 0 for no limit.</summary>
    public long OperationsPerSecond => Volatile.Read(ref _operationsPerSecond);

    /// <summary>Bytes a second; 0 for no limit.</summary>
    public long BytesPerSecond => Volatile.Read(ref _bytesPerSecond);

    /// <summary>How much of its rate a bucket saves up while it is not used.</summary>
    public TimeSpan Burst
    {
        get
        {
            lock (_lock) return TimeSpan.FromSeconds(_burst);
        }
    }

    /// <summary>Changes the limit. It holds from now on, for requests that wait too; buckets are as full as they may be.</summary>
    /// <inheritdoc cref="RateLimit(long, long, TimeSpan?, TimeProvider?)" path="/param"/>
    public void Change(long operationsPerSecond, long bytesPerSecond, TimeSpan? burst = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(operationsPerSecond);
        ArgumentOutOfRangeException.ThrowIfNegative(bytesPerSecond);
        ArgumentOutOfRangeException.ThrowIfLessThan(burst ?? BurstStandard, TimeSpan.Zero, nameof(burst));
        lock (_lock)
        {
            Volatile.Write(ref _operationsPerSecond, operationsPerSecond);
            Volatile.Write(ref _bytesPerSecond, bytesPerSecond);
            _burst = (burst ?? BurstStandard).TotalSeconds;
            _operationsPaid = _bytesPaid = Now - _burst;
        }
        WakeAll();
    }

    private double Now => (double)(_clock.GetTimestamp() - _start) / _clock.TimestampFrequency;

    /// <summary>Whether the next request may pass; else how long it has to wait.</summary>
    /// <param name="wait">At least this long.</param>
    /// <param name="onChanged">Called, on any thread, when the limit is changed before that.</param>
    internal bool MayPass(out TimeSpan wait, Action onChanged)
    {
        lock (_lock)
        {
            double now = Now, until = Math.Max(_operationsPerSecond > 0 ? _operationsPaid : 0, _bytesPerSecond > 0 ? _bytesPaid : 0);
            bool passes = until <= now + Rounding;
            // Rounded up: a timer that is due too early would find nothing to do.
            wait = passes ? TimeSpan.Zero
                : TimeSpan.FromTicks(Math.Max(1, (long)Math.Ceiling((until - now - Rounding) * TimeSpan.TicksPerSecond)));
            if (passes) _waiting.Remove(onChanged); else _waiting.Add(onChanged);
            return passes;
        }
    }

    /// <summary>Takes tokens, also more than there are.</summary>
    internal void Take(long operations, long bytes)
    {
        lock (_lock)
        {
            double least = Now - _burst;
            if (_operationsPerSecond > 0 && operations != 0)
                _operationsPaid = Math.Max(_operationsPaid, least) + ((double)operations / _operationsPerSecond);
            if (_bytesPerSecond > 0 && bytes != 0) _bytesPaid = Math.Max(_bytesPaid, least) + ((double)bytes / _bytesPerSecond);
        }
    }

    /// <summary>Serves the queues that wait: they look again.</summary>
    internal void WakeAll()
    {
        Action[] waiting;
        lock (_lock)
        {
            waiting = [.. _waiting];
            _waiting.Clear();
        }
        foreach (Action wake in waiting) wake();
    }

    /// <summary>Forgets a queue that waits.</summary>
    internal void Forget(Action onChanged)
    {
        lock (_lock) _waiting.Remove(onChanged);
    }
}
