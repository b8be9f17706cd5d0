using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>A process whose memory, threads, descriptors and wake-ups are looked at from outside (proc(5)).</summary>
internal sealed partial class MeasuredProcess : IDisposable
{
    private const int ResourceUsageChildren = -1;

    private readonly Process _process;

    internal MeasuredProcess(params string[] command) => _process = Process.Start(new ProcessStartInfo(command[0], command[1..])
    {
        RedirectStandardOutput = true,
        RedirectStandardInput = true,
        RedirectStandardError = true,
    })!;

    internal bool HasExited => _process.HasExited;

    internal int Threads => Directory.GetDirectories($"/proc/{_process.Id}/task").Length;

    /// <summary>What its threads are called.</summary>
    internal IReadOnlyList<string> ThreadNames => [.. Directory.GetDirectories($"/proc/{_process.Id}/task")
        .Select(task => File.ReadAllText(Path.Combine(task, "comm")).Trim())];

    /// <summary>What it has run so far, in kernel and user mode, to the nanosecond (clock_getcpuclockid(3)).</summary>
    internal TimeSpan ProcessorTime
    {
        get
        {
            const int Scheduled = 2; // CPUCLOCK_SCHED
            KernelTime time = default;
            if (GetTime((~_process.Id << 3) | Scheduled, ref time) != 0) throw Ended();
            return TimeSpan.FromSeconds(time.Seconds) + TimeSpan.FromTicks(time.Nanoseconds / TimeSpan.NanosecondsPerTick);
        }
    }

    internal int Descriptors => Directory.GetFileSystemEntries($"/proc/{_process.Id}/fd").Length;

    /// <summary>What belongs to it alone and was written. Memory that is shared with a guest does not count.</summary>
    internal long PrivateDirtyKiB => Figure($"/proc/{_process.Id}/smaps_rollup", "Private_Dirty:");

    /// <summary>How often its threads went to sleep so far: each wake-up ends with one.</summary>
    internal long Sleeps => Directory.GetDirectories($"/proc/{_process.Id}/task")
        .Sum(task => Figure(Path.Combine(task, "status"), "voluntary_ctxt_switches:"));

    /// <summary>
    /// Processor time of all processes that this one started and that have ended, in kernel and user mode (getrusage(2)).
    /// </summary>
    internal static TimeSpan ProcessorTimeOfEnded
    {
        get
        {
            ResourceUsage usage = default;
            _ = GetUsage(ResourceUsageChildren, ref usage);
            long seconds = usage.UserSeconds + usage.KernelSeconds;
            return TimeSpan.FromMicroseconds((seconds * 1_000_000) + usage.UserMicroseconds + usage.KernelMicroseconds);
        }
    }

    /// <summary>Waits for a number of lines.</summary>
    internal void ReadLines(int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (_process.StandardOutput.ReadLine() is null) throw Ended();
        }
    }

    /// <summary>Waits for a byte of its output.</summary>
    /// <param name="wanted">Which; null for the first.</param>
    internal void ReadByte(byte? wanted = null)
    {
        int read;
        do
        {
            read = _process.StandardOutput.BaseStream.ReadByte();
            if (read < 0) throw Ended();
        }
        while (wanted is not null && read != wanted);
    }

    internal void WaitForExit() => _process.WaitForExit();

    /// <summary>Asks it to end (SIGTERM), and waits a while: a lock that it has in a cluster is free after.</summary>
    internal void End()
    {
        Tool.Run("kill", "-TERM", _process.Id.ToString(CultureInfo.InvariantCulture));
        _process.WaitForExit(TimeSpan.FromSeconds(15));
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    private IOException Ended() => new($"{_process.StartInfo.FileName} ended: {_process.StandardError.ReadToEnd()}");

    private static long Figure(string file, string key)
    {
        string line = File.ReadLines(file).First(line => line.StartsWith(key, StringComparison.Ordinal));
        return long.Parse(line[key.Length..].Trim().Split(' ')[0], CultureInfo.InvariantCulture);
    }

    [LibraryImport("libc", EntryPoint = "getrusage")]
    private static partial int GetUsage(int who, ref ResourceUsage usage);

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, ref KernelTime time);

    /// <summary>struct timespec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct KernelTime
    {
        internal long Seconds, Nanoseconds;
    }

    /// <summary>struct rusage; only the fields used here are named.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 144)]
    private struct ResourceUsage
    {
        internal long UserSeconds, UserMicroseconds, KernelSeconds, KernelMicroseconds;
    }
}
