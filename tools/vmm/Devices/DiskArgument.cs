namespace Vmm.Tool;

/// <summary>The value of <c>--disk PATH[,ro][,direct]</c>.</summary>
internal sealed record DiskArgument(string Path, bool IsReadOnly, bool IsDirect)
{
    /// <exception cref="UsageException">The value is empty or has a flag that does not exist.</exception>
    internal static DiskArgument Parse(string value)
    {
        DiskArgument disk = new(value, IsReadOnly: false, IsDirect: false);
        while (disk.Path.LastIndexOf(',') is >= 0 and int comma)
        {
            string flag = disk.Path[(comma + 1)..];
            DiskArgument shorter = disk with { Path = disk.Path[..comma] };
            switch (flag)
            {
                case "ro":
                    disk = shorter with { IsReadOnly = true };
                    continue;
                case "rw":
                    disk = shorter;
                    continue;
                case "direct":
                    disk = shorter with { IsDirect = true };
                    continue;
            }
            // A comma may be part of a file's name: it starts a flag only if no such file is there.
            if (File.Exists(disk.Path)) break;
            throw new UsageException($"--disk '{value}': unknown flag '{flag}', the flags are 'ro', 'rw' and 'direct'");
        }
        return disk.Path.Length > 0 ? disk : throw new UsageException($"--disk '{value}': the path of an image is missing");
    }
}
