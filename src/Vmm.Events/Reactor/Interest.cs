namespace Vmm.Events;

/// <summary>
/// Which events of its descriptor a subscription handles (epoll_ctl(2)). A value: each member gives a new one. Errors and a full hang-up
/// are always reported, asked for or not.
/// </summary>
/// <example><c>Interest.Readable.AndReadHangUp.EdgeTriggered</c></example>
public readonly record struct Interest
{
    private const uint In = 0x001;
    private const uint Pri = 0x002;
    private const uint Out = 0x004;
    private const uint RdHup = 0x2000;
    private const uint ExclusiveBit = 1u << 28;
    private const uint WakeUpBit = 1u << 29;
    private const uint OneShotBit = 1u << 30;
    private const uint EdgeBit = 1u << 31;

    private Interest(uint bits) => Bits = bits;

    /// <summary>The EPOLL… bits of this interest.</summary>
    internal uint Bits { get; }

    internal const uint OneShotMask = OneShotBit;
    internal const uint EdgeMask = EdgeBit;
    internal const uint PriorityMask = Pri;
    /// <summary>Reported whether asked for or not: error and hang-up.</summary>
    internal const uint AlwaysMask = 0x018;
    /// <summary>What poll(2) and io_uring's poll request know of an interest.</summary>
    internal const uint PollMask = In | Pri | Out | RdHup;

    /// <summary>What epoll_ctl(2) allows beside EPOLLEXCLUSIVE.</summary>
    internal static bool IsExclusiveAllowed(uint bits) =>
        (bits & ExclusiveBit) == 0 || (bits & ~(ExclusiveBit | In | Out | AlwaysMask | WakeUpBit | EdgeBit)) == 0;

    /// <summary>Nothing but errors and hang-ups.</summary>
    public static Interest None => default;
    /// <summary>There is something to read, or a peer to accept (EPOLLIN).</summary>
    public static Interest Readable => new(In);
    /// <summary>There is room to write (EPOLLOUT).</summary>
    public static Interest Writable => new(Out);
    /// <summary>The peer shut down its writing half (EPOLLRDHUP).</summary>
    public static Interest ReadHangUp => new(RdHup);
    /// <summary>There is an exceptional condition, such as out-of-band data (EPOLLPRI).</summary>
    public static Interest Priority => new(Pri);
    /// <summary>
    /// A kick: readable and edge-triggered. Each write to the eventfd is an event of its own, or merged with one that is not handled
    /// yet, so the handler need not drain the counter. It must cope with one event too many (after a modify, say).
    /// </summary>
    public static Interest Kick => Readable.EdgeTriggered;

    /// <summary>This, and readable.</summary>
    public Interest AndReadable => new(Bits | In);
    /// <summary>This, and writable.</summary>
    public Interest AndWritable => new(Bits | Out);
    /// <summary>This, and the peer's read hang-up.</summary>
    public Interest AndReadHangUp => new(Bits | RdHup);
    /// <summary>This, and priority.</summary>
    public Interest AndPriority => new(Bits | Pri);
    /// <summary>Report each change once instead of as long as it lasts (EPOLLET).</summary>
    public Interest EdgeTriggered => new(Bits | EdgeBit);
    /// <summary>Report once, then stay silent until modified (EPOLLONESHOT).</summary>
    public Interest OneShot => new(Bits | OneShotBit);
    /// <summary>Of several epoll sets that watch the same file wake not all (EPOLLEXCLUSIVE).</summary>
    public Interest Exclusive => new(Bits | ExclusiveBit);
    /// <summary>Keep the system from suspending while the event is pending (EPOLLWAKEUP; needs CAP_BLOCK_SUSPEND, else ignored).</summary>
    public Interest WakeUp => new(Bits | WakeUpBit);

    /// <summary>This, but not readable.</summary>
    public Interest WithoutReadable => new(Bits & ~In);
    /// <summary>This, but not writable.</summary>
    public Interest WithoutWritable => new(Bits & ~Out);
    /// <summary>This, but not the read hang-up.</summary>
    public Interest WithoutReadHangUp => new(Bits & ~RdHup);
    /// <summary>This, but not priority.</summary>
    public Interest WithoutPriority => new(Bits & ~Pri);
    /// <summary>This, level-triggered.</summary>
    public Interest WithoutEdgeTriggered => new(Bits & ~EdgeBit);
    /// <summary>This, reported every time.</summary>
    public Interest WithoutOneShot => new(Bits & ~OneShotBit);
    /// <summary>This, waking every set.</summary>
    public Interest WithoutExclusive => new(Bits & ~ExclusiveBit);
    /// <summary>This, without a hold on suspension.</summary>
    public Interest WithoutWakeUp => new(Bits & ~WakeUpBit);

    /// <summary>Whether readable is asked for.</summary>
    public bool IsReadable => (Bits & In) != 0;
    /// <summary>Whether writable is asked for.</summary>
    public bool IsWritable => (Bits & Out) != 0;
    /// <summary>Whether the read hang-up is asked for.</summary>
    public bool IsReadHangUp => (Bits & RdHup) != 0;
    /// <summary>Whether priority is asked for.</summary>
    public bool IsPriority => (Bits & Pri) != 0;
    /// <summary>Whether it is edge-triggered.</summary>
    public bool IsEdgeTriggered => (Bits & EdgeBit) != 0;
    /// <summary>Whether it is reported once only.</summary>
    public bool IsOneShot => (Bits & OneShotBit) != 0;
    /// <summary>Whether it is exclusive.</summary>
    public bool IsExclusive => (Bits & ExclusiveBit) != 0;
    /// <summary>Whether it holds off suspension.</summary>
    public bool IsWakeUp => (Bits & WakeUpBit) != 0;

    /// <summary>Binds this interest to a descriptor; a handler is still to come.</summary>
    public InterestInFd<TFd> WithFd<TFd>(TFd fd) where TFd : OwnedFd => new(this, fd);

    /// <summary>Binds this interest to a handler; a descriptor is still to come.</summary>
    public InterestOfHandler<TFd> WithHandler<TFd>(Action<TFd> handler) where TFd : OwnedFd => new(this, Shapes.Of(handler));

    /// <inheritdoc cref="WithHandler{TFd}(Action{TFd})"/>
    public InterestOfHandler<TFd> WithHandler<TFd>(Action<TFd, IReactor> handler) where TFd : OwnedFd => new(this, Shapes.Of(handler));

    /// <inheritdoc cref="WithHandler{TFd}(Action{TFd})"/>
    public InterestOfHandler<TFd> WithHandler<TFd>(Action<TFd, Readiness, IReactor> handler) where TFd : OwnedFd =>
        new(this, Shapes.Of(handler));

    /// <inheritdoc/>
    public override string ToString()
    {
        List<string> parts = [];
        if (IsReadable) parts.Add("readable");
        if (IsWritable) parts.Add("writable");
        if (IsReadHangUp) parts.Add("read hang-up");
        if (IsPriority) parts.Add("priority");
        if (IsEdgeTriggered) parts.Add("edge-triggered");
        if (IsOneShot) parts.Add("one-shot");
        if (IsExclusive) parts.Add("exclusive");
        if (IsWakeUp) parts.Add("wake-up");
        return parts.Count == 0 ? "none" : string.Join(" + ", parts);
    }
}
