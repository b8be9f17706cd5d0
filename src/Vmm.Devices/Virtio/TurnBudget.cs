using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>
/// What a queue may do in one turn of its reactor before the other queues and devices get theirs. A worker sets the limits once, when it is
/// made, and charges what it does; <see cref="VirtQueue.TryPop"/> charges the chain by itself, and gives no more once anything is used up.
/// Then the queue is served again in a later turn, if the driver has more. On the queue's thread.
/// </summary>
public sealed class TurnBudget
{
    /// <summary>Most chains of one turn, unless a worker sets another limit.</summary>
    internal const int ChainsMaxDefault = 256;

    /// <summary>No limit, with room to put chains back.</summary>
    private const int Unbounded = int.MaxValue / 2;
    private const long UnboundedBytes = long.MaxValue / 2;

    /// <summary>The limit of the turn that is running, and the last one's between turns.</summary>
    private RateLimit? _limit;
    private TimeSpan _held;
    private long _heldSince;

    /// <summary>Limit: chains popped, those of few buffers; one of many counts as several.</summary>
    public int ChainsMax { get; set; } = ChainsMaxDefault;

    /// <summary>Limit: bytes moved. The request that reaches it is still begun.</summary>
    public long BytesMax { get; set; } = UnboundedBytes;

    /// <summary>Limit: calls to the host's kernel.</summary>
    public int CallsMax { get; set; } = Unbounded;

    /// <summary>Whether any limit is reached: the turn is over.</summary>
    public bool IsSpent
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ChainsLeft <= 0 || BytesLeft <= 0 || CallsLeft <= 0;
    }

    /// <summary>Chains that may still be popped.</summary>
    public int ChainsLeft { get; private set; } = Unbounded;

    /// <summary>Bytes that may still be moved; below zero if the last request went beyond the limit.</summary>
    public long BytesLeft { get; private set; } = UnboundedBytes;

    /// <summary>Calls that may still be made.</summary>
    public int CallsLeft { get; private set; } = Unbounded;

    /// <summary>Charges what was done.</summary>
    /// <param name="bytes">Bytes moved.</param>
    /// <param name="calls">Calls to the host's kernel.</param>
    public void Charge(long bytes, int calls = 0)
    {
        BytesLeft -= bytes;
        CallsLeft -= calls;
        if (_limit is not null) Spend(0, bytes);
    }

    /// <summary>
    /// The device's limit, if it has one: what the queue does is charged to it, and a turn ends when it has no token left.
    /// </summary>
    internal Func<RateLimit?> LimitOf { get; init; } = static () => null;

    /// <summary>Serves the queue again, from any thread, when the limit was changed.</summary>
    internal Action Wake { get; init; } = static () => { };

    /// <summary>How long the queue waits for a token; zero while it does not.</summary>
    internal TimeSpan HeldFor { get; private set; }

    /// <summary>How long the queue waited for tokens since the last time this was asked.</summary>
    internal TimeSpan TakeHeld()
    {
        TimeSpan held = _held;
        _held = TimeSpan.Zero;
        return held;
    }

    /// <summary>A turn begins, with all that the limits allow.</summary>
    internal void Begin()
    {
        (ChainsLeft, BytesLeft, CallsLeft) = (ChainsMax, BytesMax, CallsMax);
        RateLimit? limit = LimitOf();
        if (limit is null && _limit is null) return;
        if (limit != _limit) _limit?.Forget(Wake);
        _limit = limit;
        if (HeldFor > TimeSpan.Zero)
        {
            _held += Stopwatch.GetElapsedTime(_heldSince);
            HeldFor = TimeSpan.Zero;
        }
        Spend(0, 0);
    }

    /// <summary>The queue stops: it waits for no token.</summary>
    internal void Forget() => _limit?.Forget(Wake);

    /// <summary>Takes tokens, and ends the turn if there is none for the next request.</summary>
    private void Spend(long operations, long bytes)
    {
        if (_limit is not { } limit) return;
        if (operations != 0 || bytes != 0) limit.Take(operations, bytes);
        if (HeldFor > TimeSpan.Zero || limit.MayPass(out TimeSpan wait, Wake)) return;
        HeldFor = wait;
        _heldSince = Stopwatch.GetTimestamp();
        ChainsLeft = 0;
    }

    /// <summary>The turn is over, whatever is left of it.</summary>
    internal void Finish() => ChainsLeft = 0;

    /// <summary>Outside of turns nothing is bounded.</summary>
    internal void End() => (ChainsLeft, BytesLeft, CallsLeft) = (Unbounded, UnboundedBytes, Unbounded);

    /// <summary>A chain was popped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Took(int cost)
    {
        ChainsLeft -= cost;
        if (_limit is not null) Spend(1, 0);
    }

    /// <summary>A chain was put back.</summary>
    internal void PutBack(int cost)
    {
        ChainsLeft += cost;
        _limit?.Take(-1, 0);
    }
}
