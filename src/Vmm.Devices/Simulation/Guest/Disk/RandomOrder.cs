using System.Numerics;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The numbers below a bound, each once, in an order that a seed decides. Any position is computed alone: CPUs share it freely.
/// </summary>
internal readonly struct RandomOrder
{
    private readonly ulong _count;
    private readonly ulong _mask;
    private readonly ulong _key;
    private readonly int _shift;

    internal RandomOrder(ulong count, ulong seed)
    {
        _count = count;
        _mask = BitOperations.RoundUpToPowerOf2(Math.Max(count, 2)) - 1;
        _shift = Math.Max(1, BitOperations.PopCount(_mask) / 2);
        _key = seed;
    }

    /// <summary>The number at a position, both below the bound.</summary>
    internal ulong this[ulong position]
    {
        get
        {
            // A bijection of the next power of two; walked on while it falls outside of the bound, which it does less than half the time.
            ulong value = position;
            do
            {
                value = Scatter(value);
            }
            while (value >= _count);
            return value;
        }
    }

    // Each step can be undone within the mask: an odd factor, a constant added, a shift to the right folded in.
    private ulong Scatter(ulong value)
    {
        value = (value * 0x9e3779b97f4a7c15 + _key) & _mask;
        value ^= value >> _shift;
        value = (value * 0xbf58476d1ce4e5b9 + (_key >> 32)) & _mask;
        value ^= value >> _shift;
        return (value * 0x94d049bb133111eb) & _mask;
    }
}
