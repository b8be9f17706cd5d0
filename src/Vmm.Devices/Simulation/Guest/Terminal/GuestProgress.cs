using System.Diagnostics;

namespace Vmm.Devices.Simulation;

/// <summary>
/// How far a command is that takes longer than a moment: a line of the console that is written over itself, and gone at the end. Nothing
/// where no terminal is at the console's other end. On CPU 0.
/// </summary>
internal sealed class GuestProgress(GuestKernel kernel, string what)
{
    /// <summary>What is over sooner shows nothing, and the line changes no more often than this.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    private const string EraseLine = "\r\u001b[K";

    private long _last = Stopwatch.GetTimestamp();
    private bool _shown;

    /// <summary>Whether it is time to say how far the command is.</summary>
    internal bool IsDue => kernel.ShowsProgress && Stopwatch.GetElapsedTime(_last) >= Patience;

    /// <summary>Says how far it is.</summary>
    /// <param name="cpu">CPU 0.</param>
    /// <param name="done">Of the work.</param>
    /// <param name="all">The work; more than 0.</param>
    internal ValueTask Show(KernelCpu cpu, ulong done, ulong all)
    {
        _last = Stopwatch.GetTimestamp();
        _shown = true;
        return kernel.Console.Print(cpu, $"{EraseLine}{what}: {Math.Min(done, all) * 100 / all} %");
    }

    /// <summary>Takes the line away.</summary>
    internal ValueTask End(KernelCpu cpu) => _shown ? kernel.Console.Print(cpu, EraseLine) : ValueTask.CompletedTask;
}
