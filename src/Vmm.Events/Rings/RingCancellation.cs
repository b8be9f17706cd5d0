using System.Diagnostics.CodeAnalysis;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>
/// Everything that the kernel may still touch for an operation that was abandoned. The ring releases it when the completion has arrived,
/// never earlier (buffer invariant A).
/// </summary>
/// <example><c>RingCancellation.None.With(buffer)</c></example>
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types",
    Justification = "It is handed over, not compared.")]
public struct RingCancellation
{
    /// <summary>An operation of numbers only: the kernel touches nothing.</summary>
    public static RingCancellation None => default;

    /// <summary>This, and a buffer that the kernel has.</summary>
    /// <exception cref="InvalidOperationException">There is a buffer already.</exception>
    public readonly RingCancellation With(LentBuffer buffer) =>
        Buffer.IsEmpty ? this with { Buffer = buffer }
            : throw new InvalidOperationException("one buffer only: keep others in a disposable of your own");

    /// <summary>This, and a share that the kernel reads.</summary>
    /// <exception cref="InvalidOperationException">There is a share already.</exception>
    public readonly RingCancellation With(FrozenBuffer share) =>
        Frozen.IsEmpty
            ? this with { Frozen = share } : throw new InvalidOperationException("one share only: keep others in a disposable of your own");

    /// <summary>This, and something that is disposed when the completion has arrived.</summary>
    /// <exception cref="InvalidOperationException">There is one already.</exception>
    public readonly RingCancellation With(IDisposable held) =>
        Held is null ? this with { Held = held } : throw new InvalidOperationException("one disposable only");

    /// <summary>This, for an operation whose result is a descriptor: the ring closes that descriptor when the completion arrives.</summary>
    public readonly RingCancellation ThatClosesItsResult => this with { ResultIsDescriptor = true };

    internal LentBuffer Buffer;
    internal LentBuffer Scratch;
    internal FrozenBuffer Frozen;
    internal LentBuffer[]? Buffers;
    internal FrozenBuffer[]? FrozenBuffers;
    internal OwnedFd[]? Descriptors;
    internal HeldFile File;
    internal IDisposable? Held;
    /// <summary>A list of the caller: the ring keeps it alive, and does not release it.</summary>
    internal IoVectors? Vectors;

    /// <summary>Whether the result, if it is no error, is a descriptor that is to be closed.</summary>
    internal bool ResultIsDescriptor;

    /// <summary>Whether the scratch buffer holds descriptors that came with a message and are to be closed.</summary>
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
        Held?.Dispose();
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
