using Vmm.Devices.Native;

namespace Vmm.Devices;

/// <summary>
/// The file that the kernel makes of a process that crashes (core(5)). Guest memory that this process mapped is no part of it.
/// </summary>
public static class CoreFile
{
    /// <summary>Allows or forbids the core file of this process: it sets the soft limit to the hard one, or to 0.</summary>
    /// <param name="isWanted">Whether there is to be one.</param>
    /// <returns>The most bytes that it may have; 0 for none.</returns>
    public static ulong Allow(bool isWanted) => LimitCalls.SetCoreFile(isWanted);
}
