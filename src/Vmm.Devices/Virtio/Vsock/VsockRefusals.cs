namespace Vmm.Devices;

/// <summary>
/// Packets that belong to no connection and are to be answered by RST. Bounded: while there is no room the device takes no packet from the
/// guest, which thereby has to give receive buffers first.
/// </summary>
internal sealed class VsockRefusals
{
    private const int CountMax = 256;

    private readonly Queue<VsockHeader> _answers = new(CountMax);

    internal bool IsEmpty => _answers.Count == 0;

    internal bool IsFull => _answers.Count == CountMax;

    /// <summary>Answers a packet: from where it was sent to, with its type (virtio 1.2 § 5.10.6.4).</summary>
    internal void Add(in VsockHeader packet) => _answers.Enqueue(new VsockHeader
    {
        SourceCid = packet.DestinationCid,
        DestinationCid = packet.SourceCid,
        SourcePort = packet.DestinationPort,
        DestinationPort = packet.SourcePort,
        Type = packet.Type,
        Operation = VsockOperation.Reset,
    });

    internal VsockHeader Take() => _answers.Dequeue();

    internal void Clear() => _answers.Clear();
}
