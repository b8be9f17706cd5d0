using System.Buffers.Binary;

namespace Vmm.Fuzz;

/// <summary>
/// Where a target's decisions come from: bytes, be they of a seed, of a fuzzer that watches coverage or of a file. When they are spent
/// every answer is zero. A target asks in the same order for the same bytes, so that bytes are all it takes to do it again.
/// </summary>
internal sealed class FuzzInput(ReadOnlyMemory<byte> bytes)
{
    private const int ShortestOfSeed = 16;
    private const int DoublingsOfSeed = 6;

    private int _taken;

    /// <summary>All of it.</summary>
    internal ReadOnlyMemory<byte> Bytes => bytes;

    /// <summary>Whether nothing is left to decide with.</summary>
    internal bool IsSpent => _taken >= bytes.Length;

    /// <summary>The bytes a seed stands for: 16 to 512.</summary>
    internal static FuzzInput FromSeed(long seed)
    {
        ulong state = (ulong)seed;
        byte[] bytes = new byte[ShortestOfSeed << (int)(Mix(ref state) % DoublingsOfSeed)];
        for (int i = 0; i < bytes.Length; i += sizeof(ulong)) BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i), Mix(ref state));
        return new FuzzInput(bytes);
    }

    internal byte Byte() => IsSpent ? byte.MinValue : bytes.Span[_taken++];

    internal ushort UInt16() => (ushort)(Byte() | (Byte() << 8));

    internal uint UInt32() => UInt16() | ((uint)UInt16() << 16);

    internal ulong UInt64() => UInt32() | ((ulong)UInt32() << 32);

    /// <summary>A number from 0 on, below a limit of at most 65536.</summary>
    internal int Next(int limit) => limit <= 1 ? 0 : (limit <= 256 ? Byte() : UInt16()) % limit;

    internal bool OneIn(int chances) => Next(chances) == chances - 1;

    internal T Pick<T>(ReadOnlySpan<T> choices) => choices[Next(choices.Length)];

    internal void Fill(Span<byte> destination)
    {
        foreach (ref byte each in destination) each = Byte();
    }

    /// <summary>A number that code is likely to get wrong, or any at all.</summary>
    internal ulong Interesting()
    {
        int shape = Byte();
        return (shape % 8) switch
        {
            0 => 0,
            1 => 1UL << (shape / 8),
            2 => (1UL << (shape / 8)) - 1,
            3 => ulong.MaxValue - (ulong)(shape / 8),
            4 => uint.MaxValue - (uint)(shape / 8),
            5 => Byte(),
            6 => UInt32(),
            _ => UInt64(),
        };
    }

    /// <summary>SplitMix64: short, and good enough to choose with.</summary>
    private static ulong Mix(ref ulong state)
    {
        ulong z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
}
