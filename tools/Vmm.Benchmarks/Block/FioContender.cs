using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Vmm.Benchmarks;

/// <summary>fio(1) over io_uring on the same file: the kernel's share with the thinnest program there is around it, and no guest.</summary>
internal sealed class FioContender : IContender
{
    private readonly BlockFile _file;
    private readonly int _bytes;
    private readonly string[] _more;

    /// <summary>Reads of one block through the page cache.</summary>
    /// <param name="batched">Whether it submits and collects many at once, which it does not by itself.</param>
    internal FioContender(bool batched)
    {
        (_file, _bytes) = (BlockFile.Cached.Value, BlockFile.BlockBytes);
        _more = !batched ? [] : [$"--iodepth_batch_submit={BlockComparison.Depth}",
            $"--iodepth_batch_complete_max={BlockComparison.Depth}", "--norandommap", "--gtod_reduce=1"];
    }

    /// <summary>Reads past the page cache, by their processor time.</summary>
    internal FioContender(int bytes, string more) => (_file, _bytes, _more) = (BlockFile.Direct.Value, bytes, [more, "--gtod_reduce=1"]);

    /// <summary>A process takes its time to start; so many operations make it worth it.</summary>
    public int Quantum => _file.IsDirect ? 8192 : 131_072;

    public TimeSpan? OwnTime { get; private set; }

    public void Run(long operations)
    {
        List<string> arguments =
        [
            "--name=compare", "--output-format=json", "--rw=randread", "--ioengine=io_uring", "--invalidate=0",
            "--randrepeat=0",
            $"--filename={_file.Path}", $"--bs={_bytes}", $"--iodepth={BlockComparison.Depth}",
            _file.IsDirect ? "--direct=1" : "--direct=0",
            string.Create(CultureInfo.InvariantCulture, $"--io_size={operations * _bytes}"), .. _more,
        ];
        try
        {
            using Process fio = Process.Start(new ProcessStartInfo("fio", arguments) { RedirectStandardOutput = true })!;
            using JsonDocument report = JsonDocument.Parse(fio.StandardOutput.ReadToEnd());
            fio.WaitForExit();
            JsonElement job = report.RootElement.GetProperty("jobs")[0];
            OwnTime = TimeSpan.FromSeconds(operations / job.GetProperty("read").GetProperty("iops").GetDouble());
            if (_file.IsDirect) OwnTime *= (job.GetProperty("usr_cpu").GetDouble() + job.GetProperty("sys_cpu").GetDouble()) / 100;
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw new IOException("the baseline needs fio: apt-get install fio", missing);
        }
    }

    public void Dispose()
    {
    }
}
