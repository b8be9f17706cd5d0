using System.Buffers;
using System.Runtime.InteropServices;
using Vmm.Events.Buffers;

namespace Vmm.Benchmarks;

/// <summary>A buffer is rented and given back.</summary>
internal static class BufferCycle
{
    internal static Comparison Comparison { get; } = new("buffers", "buffers",
        "a buffer of n bytes is rented and released, by vmm-slab frozen in between; the baseline is ArrayPool.Shared",
        [512, 4096, 65_536],
        [
            new("array-pool", n => new Arrays(n)),
            new("malloc", n => new Malloc(n)),
            new("vmm-slab", n => new Slabs(n)),
        ]);

    /// <summary>Cycles between two looks at the clock, at least.</summary>
    private const int Burst = 1000;

    private sealed class Arrays(int bytes) : IContender
    {
        public int Quantum => Burst;

        public void Run(long operations)
        {
            for (long i = 0; i < operations; i++)
            {
                byte[] array = ArrayPool<byte>.Shared.Rent(bytes);
                array[0] = 1;
                ArrayPool<byte>.Shared.Return(array);
            }
        }

        public void Dispose()
        {
        }
    }

    private sealed unsafe class Malloc(int bytes) : IContender
    {
        public int Quantum => Burst;

        public void Run(long operations)
        {
            for (long i = 0; i < operations; i++)
            {
                byte* memory = (byte*)NativeMemory.Alloc((nuint)bytes);
                // SAFETY: just allocated, at least one byte, freed in the next line.
                *memory = 1;
                NativeMemory.Free(memory);
            }
        }

        public void Dispose()
        {
        }
    }

    private sealed class Slabs(int bytes) : IContender
    {
        private readonly SlabPool _pool = new();

        public int Quantum => Burst;

        public void Run(long operations)
        {
            for (long i = 0; i < operations; i++)
            {
                SlabBuffer buffer = _pool.Rent(bytes);
                buffer.Append([1]);
                buffer.Freeze(1).Release();
            }
        }

        public void Dispose() => _pool.Dispose();
    }
}
