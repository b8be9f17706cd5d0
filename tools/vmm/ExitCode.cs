using Microsoft.Extensions.Options;

namespace Vmm.Tool;

/// <summary>What the process tells its caller: 0 all went well, 1 the world or the guest did not, 2 the command line makes no sense.</summary>
internal static class ExitCode
{
    internal const int Success = 0;
    internal const int World = 1;
    internal const int Usage = 2;

    /// <summary>
    /// Whether an exception tells of the world (a file, a device, the kernel) in a sentence of its own. Anything else is a bug, and its
    /// trace is what we need to see.
    /// </summary>
    internal static bool IsWorld(Exception exception) =>
        exception is IOException or UnauthorizedAccessException or OptionsValidationException or PlatformNotSupportedException
            or OperationCanceledException;
}

/// <summary>The command line makes no sense. The message is a sentence the user can act on.</summary>
internal sealed class UsageException(string message) : Exception(message);
