using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--disk</c>: raw images, with a queue for each vCPU.</summary>
/// <param name="scratch">Whether a machine without one gets a disk that is gone with it.</param>
internal sealed class DiskOption(bool scratch) : DeviceOption
{
    private const long ScratchBytes = 64 << 20;

    private readonly Option<string[]> _disks = new("--disk")
    {
        HelpName = "PATH[,ro][,direct]",
        Description = "A raw image, read-only or past the page cache (O_DIRECT) if told so; may be given several times." + (scratch ? $" Without one a {ScratchBytes >> 20} MiB scratch image is made." : ""),
    };

    private readonly ChoiceOption _engine = new("--engine",
        "What moves the disks' bytes: the kernel's completion ring where there is one, a few threads, or the reactor itself.",
        standard: "ring", "ring", "threads", "synchronous");

    internal override Option[] Options => [_disks, _engine];

    internal override DeviceRequest[] Read(ParseResult parsed, int vcpus)
    {
        DiskArgument[] disks = [.. (parsed.GetValue(_disks) ?? []).Select(DiskArgument.Parse)];
        BlockEngineKind engine = _engine.In(parsed) switch
        {
            "threads" => BlockEngineKind.Threads,
            "synchronous" => BlockEngineKind.Synchronous,
            _ => BlockEngineKind.Ring,
        };
        BlockDeviceOptions options = new() { Queues = vcpus };
        if (disks.Length == 0 && scratch) return [new DeviceRequest(() => new BlockDevice(BlockDevice.NameOf(0), OpenScratch(engine), options))];
        return [.. disks.Select((disk, i) => new DeviceRequest(() => new BlockDevice(BlockDevice.NameOf(i), RawImage.Open(disk.Path, disk.IsReadOnly, engine, disk.IsDirect), options)))];
    }

    private static RawImage OpenScratch(BlockEngineKind engine)
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-scratch-{Environment.ProcessId}.img");
        using (FileStream file = new(path, FileMode.CreateNew)) file.SetLength(ScratchBytes);
        try
        {
            Console.Error.WriteLine($"vmm: no --disk given: made a {ScratchBytes >> 20} MiB scratch image, which is gone at the end");
            return RawImage.Open(path, readOnly: false, engine);
        }
        finally
        {
            // Who has it open keeps it: even a process that is killed leaves nothing behind.
            File.Delete(path);
        }
    }
}
