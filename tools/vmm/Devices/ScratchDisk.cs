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
        string path = Path.Combine(Path.GetTempPath(), $"vmm-scratch-{Environment.ProcessId}.img");
        using (FileStream file = new(path, FileMode.CreateNew)) file.SetLength(Bytes);
        try
        {
            return (BlockDevice)new DiskSpec { Path = path }.Open(BlockDevice.NameOf(0), setting);
        }
        finally
        {
            // An open file stays until it is closed: even a process that is killed leaves nothing behind.
            File.Delete(path);
        }
    }
}
