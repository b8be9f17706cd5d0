namespace Vmm.Events.Native;

/// <summary>
/// What this library is written for: the system call numbers and the packed structures are those of Linux on x86-64. Elsewhere the same
/// numbers are other system calls, so whatever would make one is refused first.
/// </summary>
internal static class Platform
{
    private static readonly string? WhyNot = Refusal(OperatingSystem.IsLinux(), RuntimeInformation.ProcessArchitecture);

    /// <summary>Throws where the library cannot work. Called by whatever makes a descriptor or a reactor.</summary>
    /// <exception cref="PlatformNotSupportedException">This is no Linux, or no x86-64.</exception>
    internal static void ThrowIfForeign()
    {
        if (WhyNot is not null) throw new PlatformNotSupportedException(WhyNot);
    }

    /// <summary>Why the library cannot work there; null if it can.</summary>
    internal static string? Refusal(bool isLinux, Architecture architecture) => (isLinux, architecture) switch
    {
        (false, _) => "Vmm runs on Linux only: epoll, eventfd and io_uring are Linux's",
        (_, Architecture.X64) => null,
        _ => $"Vmm runs on x86-64 only, and this process is {architecture}: run the x64 build (linux-x64) on an x86-64 machine or "
            + "under emulation",
    };
}
