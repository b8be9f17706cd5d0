using System.Buffers;

namespace Vmm.Events.Buffers;

/// <summary>
/// Bytes that do not change any more. Each value is one owner's share: it is released once, or handed into an operation, and another owner
/// gets a <see cref="Share()"/> of its own. Shares may be used and released on any thread.
/// </summary>
public readonly struct FrozenBuffer : IEquatable<FrozenBuffer>
{
    private readonly FrozenShare _share;
    private readonly ulong _generation;
    private readonly int _start;

    internal FrozenBuffer(FrozenShare share, ulong generation, int start, int length)
    {
        _share = share;
        _generation = generation;
        _start = start;
        Length = length;
    }

    /// <summary>Whether there is no buffer at all: the default value.</summary>
    public bool IsEmpty => _share is null;

    /// <summary>Bytes of this share.</summary>
    public int Length { get; }

    /// <summary>The bytes.</summary>
    /// <exception cref="ObjectDisposedException">This share was released or handed on.</exception>
    public ReadOnlySpan<byte> Span
    {
        get
        {
            if (_share is null) return default;
            _share.Check(_generation);
            return _share.Block.FrozenBytes(_start, Length);
        }
    }

    /// <summary>
    /// The bytes as an ordinary memory, which throws <see cref="ObjectDisposedException"/> once this share is released; a pin of it keeps
    /// the bytes until it is undone. The first use allocates the object behind it.
    /// </summary>
    /// <exception cref="ObjectDisposedException">This share was released or handed on.</exception>
    public ReadOnlyMemory<byte> Memory => _share is null ? default : _share.Memory(_generation).Memory.Slice(_start, Length);

    /// <summary>A second owner of the same bytes.</summary>
    /// <exception cref="ObjectDisposedException">This share was released or handed on.</exception>
    public FrozenBuffer Share() => Share(0, Length);

    /// <summary>A second owner of part of the bytes.</summary>
    /// <exception cref="ObjectDisposedException">This share was released or handed on.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside.</exception>
    public FrozenBuffer Share(int start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)start, (uint)Length, nameof(start));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, (uint)(Length - start), nameof(length));
        if (_share is null) return default;
        _share.Check(_generation);
        SlabBlock block = _share.Block;
        block.AddShare();
        FrozenShare fresh = block.RentShare();
        return new FrozenBuffer(fresh, fresh.Begin(), _start + start, length);
    }

    /// <summary>Ends this share. With the last one the memory goes back to its pool.</summary>
    /// <exception cref="ObjectDisposedException">It was released or handed on before.</exception>
    public void Release()
    {
        ObjectDisposedException.ThrowIf(_share is null, typeof(FrozenBuffer));
        _share.Release(_generation);
    }

    /// <summary>
    /// Several buffers as one sequence, in order. The owner of the shares keeps them until the sequence is not used any more.
    /// </summary>
    public static ReadOnlySequence<byte> Sequence(params ReadOnlySpan<FrozenBuffer> buffers)
    {
        if (buffers.IsEmpty) return ReadOnlySequence<byte>.Empty;
        Segment first = new(buffers[0].Memory, null);
        Segment last = first;
        foreach (FrozenBuffer buffer in buffers[1..]) last = new Segment(buffer.Memory, last);
        return new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length);
    }

    /// <summary>
    /// Hands the share to an operation (invariant A), for an <see cref="Rings.IRingEvent{TResult}"/>; the ring's own operations do it by
    /// themselves. This handle is stale then, and the returned one is the operation's.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The handle is stale.</exception>
    public FrozenBuffer Take()
    {
        ObjectDisposedException.ThrowIf(_share is null, typeof(FrozenBuffer));
        return new FrozenBuffer(_share, _share.Take(_generation), _start, Length);
    }

    /// <summary>Takes <see cref="Take"/> back: the operation did not begin, and the handle it was given is good again.</summary>
    internal void UndoTake() => _share.UndoTake(_generation);

    /// <summary>Where the bytes are, for a submission entry. They stay there until the last share is released.</summary>
    public nint Address => _share.Block.Address + _start;

    internal SlabBlock Block => _share.Block;

    /// <inheritdoc/>
    public bool Equals(FrozenBuffer other) =>
        _share == other._share && _generation == other._generation && _start == other._start && Length == other.Length;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is FrozenBuffer other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_share, _generation, _start, Length);

    /// <summary>Whether both are the same share and part.</summary>
    public static bool operator ==(FrozenBuffer left, FrozenBuffer right) => left.Equals(right);

    /// <summary>Whether they are different shares or parts.</summary>
    public static bool operator !=(FrozenBuffer left, FrozenBuffer right) => !left.Equals(right);

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        internal Segment(ReadOnlyMemory<byte> memory, Segment? previous)
        {
            Memory = memory;
            if (previous is null) return;
            RunningIndex = previous.RunningIndex + previous.Memory.Length;
            previous.Next = this;
        }
    }
}
