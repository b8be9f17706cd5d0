using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>Where the front-end's own addresses of a ring's parts are (VHOST_USER_SET_VRING_ADDR).</summary>
internal readonly record struct VringAddresses(ulong Descriptors, ulong Used, ulong Available);

/// <summary>
/// One ring as its front-end set it up. Belongs to the session's thread, but for <see cref="Call"/>, which the queue's thread signals.
/// </summary>
internal sealed class Vring(int index) : IDisposable
{
    private UntrustedSignal? _call;

    internal int Index => index;

    /// <summary>Entries; 0 before VHOST_USER_SET_VRING_NUM.</summary>
    internal ushort Size { get; set; }

    internal VringAddresses? Addresses { get; set; }

    /// <summary>Where the queue goes on, as the front-end set it or as it was when it stopped.</summary>
    internal ushort AvailBase { get; set; }

    /// <summary>Where it goes on giving back; differs from <see cref="AvailBase"/> in form only once a packed ring was stopped.</summary>
    internal ushort? UsedBase { get; set; }

    /// <summary>
    /// What was reported to the front-end when the ring last stopped; null if it never did. A base other than that is another driver's.
    /// </summary>
    internal ushort? StoppedAt { get; set; }

    /// <summary>What the driver rings. A master copy: each start hands out a duplicate.</summary>
    internal EventFd? Kick { get; private set; }

    internal bool IsEnabled { get; set; }

    /// <summary>Whether its queue runs or is being stopped.</summary>
    internal bool IsBusy { get; set; }

    internal UntrustedSignal? Error { get; private set; }

    /// <summary>What the driver waits for; null means it polls.</summary>
    internal UntrustedSignal? Call => Volatile.Read(ref _call);

    internal void ReplaceKick(EventFd? kick)
    {
        Kick?.Dispose();
        Kick = kick;
    }

    internal void ReplaceError(UntrustedSignal? error)
    {
        Error?.Dispose();
        Error = error;
    }

    internal void ReplaceCall(UntrustedSignal? call)
    {
        // The queue's thread may be signalling the old one: that is what its lock is for.
        Interlocked.Exchange(ref _call, call)?.Dispose();
        // A signal that went to the old one after the driver had stopped to look there must not be lost; one too many does no harm.
        if (IsBusy) call?.Signal();
    }

    public void Dispose()
    {
        ReplaceKick(null);
        ReplaceCall(null);
        ReplaceError(null);
    }
}
