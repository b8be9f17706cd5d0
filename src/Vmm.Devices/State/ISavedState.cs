namespace Vmm.Devices;

/// <summary>A part of a machine that its owner saves and restores by itself: a chip that no driver negotiates with.</summary>
internal interface ISavedState
{
    /// <summary>Writes what another process needs to go on. No vCPU runs.</summary>
    void Save(StateWriter to);

    /// <summary>
    /// Reads back what <see cref="Save"/> wrote, in a part that was just made. No vCPU runs yet, and the interrupt controllers have their
    /// state: a line that was up is asserted again.
    /// </summary>
    /// <exception cref="StateException">It does not fit.</exception>
    void Restore(StateReader from);
}
