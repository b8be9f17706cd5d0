using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>Everything that the kernel may still touch for an operation that was given up. Released by its completion, never earlier (buffer invariant A).</summary>
internal struct RingCancellation
{
    internal LentBuffer Buffer;
    internal LentBuffer Scratch;
    internal FrozenBuffer Frozen;
    internal LentBuffer[]? Buffers;
    internal FrozenBuffer[]? FrozenBuffers;
    internal OwnedFd[]? Descriptors;
    internal HeldFile File;
    /// <summary>A list that is kept, and not released: the caller's.</summary>
    internal IoVectors? Vectors;

    /// <summary>Whether the result, if it is none of an error, is a descriptor that nobody will close.</summary>
    internal bool ResultIsDescriptor;

    /// <summary>Whether the scratch buffer holds descriptors that came with a message and that nobody will close.</summary>
    internal bool ScratchHoldsDescriptors;

    internal readonly void Release(int result)
    {
        if (!Buffer.IsEmpty) Buffer.Release();
        if (!Scratch.IsEmpty) ReleaseScratch(result);
        if (!Frozen.IsEmpty) Frozen.Release();
        foreach (LentBuffer buffer in Buffers ?? []) buffer.Release();
        foreach (FrozenBuffer frozen in FrozenBuffers ?? []) frozen.Release();
        foreach (OwnedFd descriptor in Descriptors ?? []) descriptor.DangerousRelease();
        File.Release(result);
        GC.KeepAlive(Vectors);
        if (ResultIsDescriptor && result >= 0) new OwnedFd(result).Dispose();
    }

    private readonly void ReleaseScratch(int result)
    {
        SlabBuffer scratch = Scratch.Return(0);
        if (ScratchHoldsDescriptors && result >= 0)
        {
            foreach (OwnedFd descriptor in MessageLayout.ReadDescriptors(scratch.Bytes, out _)) descriptor.Dispose();
        }
        scratch.Release();
    }
}
