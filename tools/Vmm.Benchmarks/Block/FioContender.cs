using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Vmm.Benchmarks;

/// <summary>fio(1) over io_uring on the same file: the kernel's share with the thinnest program there is around it, and no guest.</summary>
/// <param name="batched">Whether it submits and collects many at once, which it does not by itself.</param>
internal sealed class FioContender(bool batched) : IContender
{
    /// <summary>A process takes its time to start; so many operations make it worth it.</summary>
    public int Quantum => 131_072;

    public TimeSpan? OwnTime { get; private set; }

    public void Run(long operations)
    {
        List<string> arguments =
        [
            "--name=compare", "--output-format=json", "--rw=randread", "--ioengine=io_uring", "--direct=0", "--invalidate=0",
            "--randrepeat=0",
            $"--filename={BlockFile.Cached.Value.Path}", $"--bs={BlockFile.BlockBytes}", $"--iodepth={BlockComparison.Depth}",
            string.Create(CultureInfo.InvariantCulture, $"--io_size={operations * BlockFile.BlockBytes}"),
        ];
        if (batched) arguments.AddRange([$"--iodepth_batch_submit={BlockComparison.Depth}",
            $"--iodepth_batch_complete_max={BlockComparison.Depth}", "--norandommap", "--gtod_reduce=1"]);
        try
        {
            using Process fio = Process.Start(new ProcessStartInfo("fio", arguments) { RedirectStandardOutput = true })!;
            using JsonDocument report = JsonDocument.Parse(fio.StandardOutput.ReadToEnd());
            fio.WaitForExit();
            double perSecond = report.RootElement.GetProperty("jobs")[0].GetProperty("read").GetProperty("iops").GetDouble();
            OwnTime = TimeSpan.FromSeconds(operations / perSecond);
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
