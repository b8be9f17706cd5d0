using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Devices.Simulation;

/// <summary>
/// SHA-256 (FIPS 180-4) as a guest computes it, with code of its own: that of .NET loads the host's OpenSSL, which a host need not have.
/// </summary>
internal sealed class GuestSha256
{
    private const int BlockBytes = 64;
    private const int Rounds = 64;

    private static readonly uint[] Constants = [.. Primes().Take(Rounds).Select(prime => Fraction(prime, root: 3))];
    private static readonly uint[] Start = [.. Primes().Take(8).Select(prime => Fraction(prime, root: 2))];

    private readonly uint[] _state = [.. Start];
    private readonly uint[] _schedule = new uint[Rounds];
    private readonly byte[] _block = new byte[BlockBytes];
    private int _filled;
    private ulong _bytes;

    /// <summary>Adds bytes, in order.</summary>
    internal void Add(ReadOnlySpan<byte> bytes)
    {
        _bytes += (ulong)bytes.Length;
        if (_filled > 0)
        {
            int taken = Math.Min(bytes.Length, BlockBytes - _filled);
            bytes[..taken].CopyTo(_block.AsSpan(_filled));
            _filled += taken;
            bytes = bytes[taken..];
            if (_filled < BlockBytes) return;
            Compress(_block);
        }
        for (; bytes.Length >= BlockBytes; bytes = bytes[BlockBytes..]) Compress(bytes);
        bytes.CopyTo(_block);
        _filled = bytes.Length;
    }

    /// <summary>The sum of all bytes, in hexadecimal digits. Begins a new one.</summary>
    internal string Finish()
    {
        ulong bits = _bytes * 8;
        // A one, zeros, and the length in the last eight bytes of a block (§ 5.1.1).
        Span<byte> padding = stackalloc byte[2 * BlockBytes];
        padding.Clear();
        padding[0] = 0x80;
        int length = (_filled < BlockBytes - sizeof(ulong) ? BlockBytes : 2 * BlockBytes) - _filled;
        BinaryPrimitives.WriteUInt64BigEndian(padding[(length - sizeof(ulong))..], bits);
        Add(padding[..length]);
        string sum = string.Concat(_state.Select(word => word.ToString("x8", null)));
        Start.CopyTo(_state, 0);
        (_filled, _bytes) = (0, 0);
        return sum;
    }

    /// <summary>§ 6.2.2.</summary>
    private void Compress(ReadOnlySpan<byte> block)
    {
        uint[] w = _schedule;
        for (int t = 0; t < 16; t++) w[t] = BinaryPrimitives.ReadUInt32BigEndian(block[(t * sizeof(uint))..]);
        for (int t = 16; t < w.Length; t++) w[t] = w[t - 16] + w[t - 7] + Small(w[t - 15], 7, 18, 3) + Small(w[t - 2], 17, 19, 10);

        uint[] s = _state;
        (uint a, uint b, uint c, uint d, uint e, uint f, uint g, uint h) = (s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
        for (int t = 0; t < w.Length; t++)
        {
            uint first = h + Big(e, 6, 11, 25) + ((e & f) ^ (~e & g)) + Constants[t] + w[t];
            uint second = Big(a, 2, 13, 22) + ((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d + first, c, b, a, first + second);
        }
        s[0] += a;
        s[1] += b;
        s[2] += c;
        s[3] += d;
        s[4] += e;
        s[5] += f;
        s[6] += g;
        s[7] += h;
    }

    private static uint Big(uint x, int one, int two, int three) =>
        BitOperations.RotateRight(x, one) ^ BitOperations.RotateRight(x, two) ^ BitOperations.RotateRight(x, three);

    private static uint Small(uint x, int one, int two, int shift) =>
        BitOperations.RotateRight(x, one) ^ BitOperations.RotateRight(x, two) ^ (x >> shift);

    private static IEnumerable<uint> Primes()
    {
        for (uint number = 2; ; number++)
        {
            uint divisor = 2;
            while (divisor * divisor <= number && number % divisor != 0) divisor++;
            if (divisor * divisor > number) yield return number;
        }
    }

    /// <summary>The first 32 bits of the fraction of a prime's square or cube root (§ 4.2.2, § 5.3.3).</summary>
    private static uint Fraction(uint prime, int root)
    {
        // The root of prime · 2^(32 · root) is that of the prime with 32 more bits. The primes are below 2^9, so 36 bits hold it.
        UInt128 scaled = (UInt128)prime << (32 * root);
        UInt128 found = 0;
        for (int bit = 36; bit >= 0; bit--)
        {
            UInt128 candidate = found | (UInt128.One << bit);
            if ((root == 2 ? candidate * candidate : candidate * candidate * candidate) <= scaled) found = candidate;
        }
        return (uint)found;
    }
}
