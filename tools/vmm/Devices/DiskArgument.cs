namespace Vmm.Tool;

/// <summary>The value of <c>--disk PATH[,ro]</c>.</summary>
internal sealed record DiskArgument(string Path, bool IsReadOnly)
{
    /// <exception cref="UsageException">The value is empty or has a flag that does not exist.</exception>
    internal static DiskArgument Parse(string value)
    {
        int comma = value.LastIndexOf(',');
        string path = comma < 0 ? value : value[..comma];
        string? flag = comma < 0 ? null : value[(comma + 1)..];
        // A comma may be part of a file's name: it starts a flag only if no such file is there.
        if (flag is not (null or "ro" or "rw"))
        {
            if (!File.Exists(value)) throw new UsageException($"--disk '{value}': unknown flag '{flag}', the flags are 'ro' and 'rw'");
            path = value;
            flag = null;
        }
        if (path.Length == 0) throw new UsageException($"--disk '{value}': the path of an image is missing");
        return new DiskArgument(path, flag == "ro");
    }
}
