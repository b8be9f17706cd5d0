using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

public sealed partial class IoRing
{
    private static int _poolKeys;

    private RingRequest?[] _operationPools = new RingRequest?[16];

    internal ReactorTimers Timers => _reactor.Timers;

    internal RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>For arguments that the kernel reads from memory: paths, addresses, message heads.</summary>
    internal SlabPool Scratch { get; }

    internal static int NextPoolKey() => Interlocked.Increment(ref _poolKeys) - 1;

    /// <summary>The free cells of one kind of operation.</summary>
    internal ref RingRequest? Pool(int key)
    {
        if (key >= _operationPools.Length) Array.Resize(ref _operationPools, Math.Max(key + 1, _operationPools.Length * 2));
        return ref _operationPools[key];
    }

    /// <summary>Arguments where the kernel can read them.</summary>
    private LentBuffer LendScratch(ReadOnlySpan<byte> arguments)
    {
        SlabBuffer scratch = Scratch.Rent(arguments.Length);
        scratch.Append(arguments);
        return scratch.Lend();
    }
}
