namespace Vmm.Events.Rings;

/// <summary>
/// Operations that are begun while this is open run one after the other (IOSQE_IO_LINK). If one fails or moves fewer bytes than asked, the
/// rest is cancelled.
/// </summary>
/// <example><c>using (ring.Chain()) { written = ring.Write(file, bytes, 0); synced = ring.Fsync(file); }</c></example>
public readonly ref struct RingChain
{
    private readonly IoRing _ring;

    internal RingChain(IoRing ring) => _ring = ring;

    /// <summary>Ends the chain.</summary>
    public void Dispose() => _ring.EndChain();
}
