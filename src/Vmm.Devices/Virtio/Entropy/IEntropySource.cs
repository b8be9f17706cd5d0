using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Where random bytes come from. Called on the reactor's thread: it does not wait.</summary>
public interface IEntropySource
{
    /// <summary>Fills a span, all of it.</summary>
    /// <returns>What the host said if it could not; then nothing in the span may be used.</returns>
    Errno Fill(Span<byte> span);
}

/// <summary>The entropy sources there are.</summary>
public static class EntropySource
{
    /// <summary>The kernel's generator: getrandom(2).</summary>
    public static IEntropySource Kernel { get; } = new KernelSource();

    private sealed class KernelSource : IEntropySource
    {
        public Errno Fill(Span<byte> span) => RandomCalls.Fill(span);
    }
}
