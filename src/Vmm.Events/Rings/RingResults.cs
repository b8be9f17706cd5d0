using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>How an operation ended.</summary>
/// <param name="Value">What the call gave, or an error number with its sign turned.</param>
public readonly record struct RingResult(int Value)
{
    /// <summary>What went wrong; <see cref="Errno.None"/> if nothing did.</summary>
    public Errno Error => Value < 0 ? (Errno)(-Value) : Errno.None;

    /// <summary>Whether it was cancelled before it could do anything.</summary>
    public bool IsCanceled => Error is Errno.Canceled or Errno.Interrupted;

    /// <summary>What the call gave, mostly bytes; 0 if it failed.</summary>
    public int Count => Math.Max(0, Value);

    /// <summary>Throws if it failed.</summary>
    /// <param name="what">What was asked, as the start of a sentence.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="KernelException">The kernel refused.</exception>
    public void ThrowIfFailed(string what)
    {
        if (IsCanceled) throw new OperationCanceledException($"{what}: cancelled");
        if (Error != Errno.None) throw new KernelException(what, Error);
    }
}

/// <summary>How an operation on a buffer ended, and the buffer. It is the caller's again, whatever happened.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Buffer">The buffer.</param>
/// <param name="Asked">Bytes that were asked for.</param>
public readonly record struct BufferResult(RingResult Result, SlabBuffer Buffer, int Asked)
{
    /// <summary>Whether all bytes were moved that were asked for.</summary>
    public bool IsComplete => Result.Value == Asked;

    /// <summary>Whether fewer were: the end of the file, a peer with less to say, a full disk.</summary>
    public bool IsShort => Result.Value >= 0 && Result.Value < Asked;
}

/// <summary>How a write of frozen bytes ended, and the share that was handed in.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Buffer">The share.</param>
public readonly record struct FrozenResult(RingResult Result, FrozenBuffer Buffer)
{
    /// <summary>Whether all bytes went out.</summary>
    public bool IsComplete => Result.Value == Buffer.Length;

    /// <summary>Whether fewer did.</summary>
    public bool IsShort => Result.Value >= 0 && Result.Value < Buffer.Length;
}

/// <summary>How a vectored read ended, and its buffers, filled one after the other.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Buffers">The buffers.</param>
/// <param name="Asked">Bytes that were asked for.</param>
public readonly record struct BuffersResult(RingResult Result, SlabBuffer[] Buffers, long Asked)
{
    /// <summary>Whether every buffer is full.</summary>
    public bool IsComplete => Result.Value == Asked;
}

/// <summary>How a vectored write ended, and the shares that were handed in.</summary>
/// <param name="Result">How it ended: with an error, the error of the call that failed.</param>
/// <param name="Buffers">The shares.</param>
/// <param name="Written">Bytes that went out, also before an error.</param>
/// <param name="Asked">Bytes that were asked for.</param>
public readonly record struct FrozenBuffersResult(RingResult Result, FrozenBuffer[] Buffers, long Written, long Asked)
{
    /// <summary>Whether all bytes went out.</summary>
    public bool IsComplete => Written == Asked;
}

/// <summary>How an operation ended that makes a descriptor.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Descriptor">The descriptor; null if it failed.</param>
public readonly record struct DescriptorResult(RingResult Result, OwnedFd? Descriptor);

/// <summary>What statx(2) says of a file.</summary>
/// <param name="Result">How it ended; the rest means nothing if it failed.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Mode">Type and permissions (inode(7)).</param>
/// <param name="Links">Names it has.</param>
/// <param name="Inode">Its number in its file system.</param>
/// <param name="Blocks">Blocks of 512 bytes it takes.</param>
public readonly record struct StatxResult(RingResult Result, long Size, ushort Mode, uint Links, ulong Inode, ulong Blocks);

/// <summary>A message that came with descriptors (recvmsg(2), SCM_RIGHTS).</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Buffer">The buffer.</param>
/// <param name="Descriptors">The descriptors, close-on-exec; they are the caller's.</param>
/// <param name="IsCut">Whether data or descriptors did not fit and are lost (MSG_TRUNC, MSG_CTRUNC).</param>
public readonly record struct MessageResult(RingResult Result, SlabBuffer Buffer, OwnedFd[] Descriptors, bool IsCut);
