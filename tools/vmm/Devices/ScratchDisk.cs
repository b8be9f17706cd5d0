using Microsoft.Extensions.Logging;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>The disk of a machine for which none was given. It is gone with the process.</summary>
internal static class ScratchDisk
{
    private const long Bytes = 64 << 20;

    /// <summary>Says on standard error that there is one, once nothing else of the command line was refused.</summary>
    internal static void Announce() =>
        StandardError.Say(LogLevel.Information, $"no --disk given: made a {Bytes >> 20} MiB scratch image, which is gone at the end");

    /// <summary>Makes the disk.</summary>
    internal static BlockDevice Open(DeviceSetting setting)
    {
        // An open file stays until it is closed: even a process that is killed leaves nothing behind.
        using FileStream file = Make();
        file.SetLength(Bytes);
        return (BlockDevice)new DiskSpec { Path = file.Name }.Open(BlockDevice.NameOf(0), setting);
    }

    private static FileStream Make()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-scratch-{Environment.ProcessId}.img");
        try
        {
            return new FileStream(
                path, FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0, FileOptions.DeleteOnClose);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new IOException(
                $"cannot make a scratch image: {failure.Message} Give --disk FILE, or set TMPDIR to another directory", failure);
        }
    }
}
