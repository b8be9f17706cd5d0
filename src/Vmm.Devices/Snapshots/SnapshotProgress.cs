namespace Vmm.Devices;

/// <summary>How far the memory of a snapshot is.</summary>
/// <param name="BytesDone">Bytes of guest memory that were looked at.</param>
/// <param name="BytesTotal">Bytes that the guest has.</param>
public readonly record struct SnapshotProgress(ulong BytesDone, ulong BytesTotal);
