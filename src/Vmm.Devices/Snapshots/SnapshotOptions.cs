namespace Vmm.Devices;

/// <summary>How a machine is saved.</summary>
public sealed record SnapshotOptions
{
    /// <summary>Whether the machine ends when it is saved, without having run on; otherwise it goes on.</summary>
    public bool Stop { get; init; }

    /// <summary>
    /// Whether the guest goes on while its memory is written. Where the host can't do that, it stands still for that time, and a line in
    /// the log says why.
    /// </summary>
    public bool Live { get; init; } = true;

    /// <summary>Learns how far the memory is, on the thread that saves.</summary>
    public IProgress<SnapshotProgress>? Progress { get; init; }
}

/// <summary>What a save did.</summary>
/// <param name="Directory">Where the snapshot is, as a full path.</param>
/// <param name="BytesWritten">Bytes of guest memory that were written: those that are no zeros.</param>
/// <param name="Stopped">How long the guest stood still.</param>
/// <param name="Elapsed">How long it took until everything was durable.</param>
public sealed record SnapshotResult(string Directory, long BytesWritten, TimeSpan Stopped, TimeSpan Elapsed);
