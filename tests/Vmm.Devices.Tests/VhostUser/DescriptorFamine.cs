using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>While it lasts, this process can open no more than a few descriptors. For tests that run alone.</summary>
internal sealed partial class DescriptorFamine : IDisposable
{
    private const int RLIMIT_NOFILE = 7;
    private const int Spare = 32, QuietLooks = 20;

    private readonly Limit _before;
    private readonly List<OwnedFd> _taken = [];

    internal DescriptorFamine(int free)
    {
        Assert.Equal(0, GetLimit(RLIMIT_NOFILE, out _before));
        _taken.Add(new EventFd());
        ulong highest = Directory.GetFileSystemEntries("/proc/self/fd").Max(path => ulong.Parse(Path.GetFileName(path)));
        Assert.Equal(0, SetLimit(RLIMIT_NOFILE, _before with { Soft = highest + Spare }));
        // Connections that ended just now give theirs back in the meantime.
        for (int quiet = 0; quiet < QuietLooks; quiet = TakeAll() > 0 ? 0 : quiet + 1) Thread.Sleep(10);
        for (; free > 0; free--)
        {
            _taken[^1].Dispose();
            _taken.RemoveAt(_taken.Count - 1);
        }
    }

    private int TakeAll()
    {
        for (int taken = 0; ; taken++)
        {
            try
            {
                _taken.Add(_taken[0].Duplicate());
            }
            catch (KernelException exception) when (exception.Errno == Errno.ProcessFileLimit)
            {
                return taken;
            }
        }
    }

    public void Dispose()
    {
        Assert.Equal(0, SetLimit(RLIMIT_NOFILE, _before));
        _taken.ForEach(fd => fd.Dispose());
    }

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, out Limit limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, in Limit limit);

    /// <summary>struct rlimit (getrlimit(2)).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private record struct Limit(ulong Soft, ulong Hard);
}
