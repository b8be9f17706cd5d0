using System.Collections.Concurrent;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// A guest's memory as a ring of the kernel keeps it, for all queues of disks that use the ring. It is what the memory was when the first
/// of them began; what is added later goes by the usual path, and what is removed stays mapped until the last of them has ended. On the
/// ring's thread.
/// </summary>
internal sealed class PinnedMemory : IDisposable
{
    private static readonly ConcurrentDictionary<(IoRing, GuestMemory), PinnedMemory> InUse = new();

    private readonly (IoRing, GuestMemory) _key;
    private readonly MemoryHold _hold;
    private int _users;

    private PinnedMemory((IoRing Ring, GuestMemory Memory) key)
    {
        _key = key;
        _hold = key.Memory.Hold();
        Pages = key.Ring.CreateMemory();
    }

    /// <summary>What transfers of the ring are given.</summary>
    internal RingMemory Pages { get; }

    /// <summary>Pins memory for one more queue.</summary>
    /// <param name="ring">The queue's.</param>
    /// <param name="memory">All of it or none.</param>
    /// <param name="refusal">Why not, in a sentence; null if it is pinned.</param>
    /// <returns>To be disposed when no request of the queue is in flight; null if it is refused.</returns>
    internal static PinnedMemory? Of(IoRing ring, GuestMemory memory, out string? refusal)
    {
        PinnedMemory pinned = InUse.GetOrAdd((ring, memory), static key => new PinnedMemory(key));
        refusal = pinned._users++ == 0 ? pinned.Add() : null;
        if (refusal is null) return pinned;
        pinned.Dispose();
        return null;
    }

    public void Dispose()
    {
        if (--_users > 0) return;
        InUse.TryRemove(_key, out _);
        Pages.Dispose();
        _hold.Dispose();
    }

    private string? Add()
    {
        ulong bytes = 0;
        foreach (GuestRegion region in _hold.Map.Regions) bytes += region.Length;
        string memory = $"{bytes >> 20} MiB of guest memory are not pinned";
        foreach (GuestRegion region in _hold.Map.Regions)
        {
            if (region.Pin() is { } why) return $"{memory}: {why}: leave out 'pin'";
            Errno errno = region.AddTo(Pages);
            if (errno == Errno.NoMemory)
                return $"{memory}: the kernel locks {LimitCalls.LockedBytes() >> 20} MiB for this user: raise RLIMIT_MEMLOCK (ulimit -l, "
                    + $"LimitMEMLOCK=) by {bytes >> 20} MiB for each reactor, or leave out 'pin'";
            if (_key.Item1.IsOnThreads) return $"{memory}: threads stand in for io_uring: leave out 'pin'";
            if (errno != Errno.None) return $"{memory}: {KernelException.Describe(errno)}: leave out 'pin'";
        }
        return null;
    }
}
