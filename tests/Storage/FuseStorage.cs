using Vmm.Events;

namespace Vmm.Tests;

/// <summary>
/// What a <see cref="FaultyFileSystem"/> keeps its file in. On the file system's thread, but for what is said to be for any.
/// </summary>
internal abstract class FuseStorage
{
    internal abstract int Length { get; }

    internal abstract Errno Read(int offset, Span<byte> bytes);

    internal abstract Errno Write(int offset, ReadOnlySpan<byte> bytes, bool durable);

    /// <summary>The range reads as zero from now on.</summary>
    internal abstract Errno Zero(int offset, int length);

    internal abstract Errno Sync();

    /// <summary>The file system is gone.</summary>
    internal virtual void Close()
    {
    }
}
