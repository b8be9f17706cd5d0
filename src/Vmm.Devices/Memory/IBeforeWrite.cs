namespace Vmm.Devices;

/// <summary>Is asked before a device writes guest memory. Thread-safe.</summary>
internal interface IBeforeWrite
{
    /// <summary>A range is about to be written, or given back; on return it may be. It may lie outside of the guest's memory.</summary>
    void Keep(ulong address, ulong length);
}
