using System.Runtime.InteropServices;
using Microsoft.Extensions.Options;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The exit codes of the process: 0 all went well, 1 the host or the guest failed, 2 the command line makes no sense.
/// </summary>
internal static class ExitCode
{
    internal const int Success = 0;
    internal const int World = 1;
    internal const int Usage = 2;

    /// <summary>What a process returns that a signal ended, by its number, as shells have it.</summary>
    internal static int OfSignal(PosixSignal signal) => 128 + signal switch
    {
        PosixSignal.SIGHUP => 1,
        PosixSignal.SIGINT => 2,
        PosixSignal.SIGQUIT => 3,
        PosixSignal.SIGTERM => 15,
        _ => (int)signal,
    };

    /// <summary>
    /// Whether an exception reports a failure of the host (a file, a device, the kernel) in a sentence of its own. Anything else is a bug,
    /// and its trace is what we need to see.
    /// </summary>
    internal static bool IsWorld(Exception exception) =>
        exception is IOException or UnauthorizedAccessException or OptionsValidationException or PlatformNotSupportedException
            or OperationCanceledException or StateException;
}

/// <summary>What was asked for makes no sense. Each sentence is one the user can act on.</summary>
internal sealed class UsageException(params IReadOnlyList<string> sentences) : Exception(sentences[0])
{
    internal IReadOnlyList<string> Sentences => sentences;

    /// <exception cref="UsageException">There is a contradiction.</exception>
    internal static void ThrowIfAny(IEnumerable<string> contradictions)
    {
        string[] sentences = [.. contradictions];
        if (sentences.Length > 0) throw new UsageException(sentences);
    }
}
