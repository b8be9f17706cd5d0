using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The process's own input and output, for whoever wants to close what it gets.</summary>
internal static class StandardStreams
{
    internal const int Input = 0;

    internal const int Output = 1;

    internal static OwnedFd DuplicateInput() => DuplicateOf(Input);

    internal static OwnedFd DuplicateOutput() => DuplicateOf(Output);

    private static OwnedFd DuplicateOf(int standard)
    {
        OwnedFd borrowed = new(standard);
        try
        {
            return borrowed.Duplicate();
        }
        finally
        {
            // The process's own, which it goes on to use.
            borrowed.SetHandleAsInvalid();
        }
    }
}
