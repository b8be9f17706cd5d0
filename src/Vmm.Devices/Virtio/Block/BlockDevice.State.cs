namespace Vmm.Devices;

// A disk in another process. Its sectors are the backend's; its cache mode is part of the configuration space.
public sealed partial class BlockDevice
{
    /// <inheritdoc/>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("block-bytes", (long)Backend.LogicalBlockBytes);
        to.Add("request-bytes-max", (long)_requestBytesMax);
        to.Add("lost-writes", _hasLostWrites);
    }

    /// <inheritdoc/>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        if (from.Int64("block-bytes", 1, uint.MaxValue) is var block && block != Backend.LogicalBlockBytes)
            throw from.Wrong("block-bytes", $"are {block}, and disk '{Name}' has blocks of {Backend.LogicalBlockBytes} bytes");
        if (from.Int64("request-bytes-max", 1, long.MaxValue) is var most && (ulong)most > _requestBytesMax)
            throw from.Wrong("request-bytes-max", $"is {most}, and disk '{Name}' takes {_requestBytesMax} at once: give it as many "
                + "segments as it had");
        // What the kernel dropped stays lost, whichever process asks.
        if (from.Boolean("lost-writes")) _hasLostWrites = true;
    }
}
