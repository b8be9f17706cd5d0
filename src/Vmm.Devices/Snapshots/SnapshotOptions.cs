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

    /// <summary>
    /// The directory of the snapshot that only the difference to is saved: the last one that the machine was saved as, or the one that it
    /// goes on from. The new one is beside it, in the same parent directory, and needs it. Null saves everything.
    /// </summary>
    public string? Base { get; init; }

    /// <summary>
    /// Whether the images of disks are saved too, as they are at that moment: files <c>disk-NAME</c> beside the memory, which share blocks
    /// with the images where the file system can. Elsewhere they are copied, and the guest stands still meanwhile.
    /// </summary>
    public bool Disks { get; init; }

    /// <summary>Learns how far the memory is, on the thread that saves.</summary>
    public IProgress<SnapshotProgress>? Progress { get; init; }
}

/// <summary>What a save did.</summary>
/// <param name="Directory">Where the snapshot is, as a full path.</param>
/// <param name="BytesWritten">Bytes of guest memory that were written: those that are no zeros, and changed.</param>
/// <param name="Stopped">How long the guest stood still.</param>
/// <param name="Elapsed">How long it took until everything was durable.</param>
/// <param name="DiskBytesCopied">Bytes of disks that were copied, since their file system does not share blocks.</param>
public sealed record SnapshotResult(string Directory, long BytesWritten, TimeSpan Stopped, TimeSpan Elapsed, long DiskBytesCopied = 0);
