using System.Diagnostics;

namespace Vmm.Events.Tests.Rings;

/// <summary>A file system with little space, for a test that fills it; needs the right to mount one.</summary>
internal sealed class TinyFileSystem : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"vmm-tiny-{Guid.NewGuid():N}");

    internal TinyFileSystem(int bytes)
    {
        Directory.CreateDirectory(_path);
        bool isMounted = Run("mount", "-t", "tmpfs", "-o", $"size={bytes}", "tmpfs", _path);
        if (!isMounted) Directory.Delete(_path);
        Assert.SkipUnless(isMounted, "a tmpfs cannot be mounted here");
    }

    internal string PathOf(string name) => Path.Combine(_path, name);

    public void Dispose()
    {
        Run("umount", _path);
        Directory.Delete(_path);
    }

    private static bool Run(string command, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
