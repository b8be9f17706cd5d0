namespace Vmm.Devices;

/// <summary>
/// Turns a guest's writes into signals of an eventfd, with no exit to the bus (KVM API, KVM_IOEVENTFD). A transport registers its queues'
/// doorbells here; the kernel implements it for a real vCPU, a table for a simulated one. Any thread.
/// </summary>
public interface IIoEventFds
{
    /// <summary>From now on a write of that width to that memory-mapped address signals the eventfd and nothing else.</summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="width">Bytes of the access: 1, 2, 4 or 8.</param>
    /// <param name="match">The value that must be written; null for any.</param>
    /// <param name="kick">What to signal. It stays the caller's, who removes the registration before disposing it.</param>
    /// <exception cref="InvalidOperationException">The same write is registered already.</exception>
    void Add(ulong address, int width, ulong? match, EventFd kick);

    /// <summary>Ends a registration: the write goes to the bus again. A signal that was sent before may still arrive.</summary>
    /// <returns>False if there is none like it.</returns>
    bool Remove(ulong address, int width, ulong? match);
}
