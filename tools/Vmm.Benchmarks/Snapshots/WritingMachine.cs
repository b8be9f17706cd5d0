using System.Diagnostics;
using System.Globalization;
using Vmm.Devices;
using Vmm.Devices.Kvm;

namespace Vmm.Benchmarks;

/// <summary>A machine of 1 GiB whose guest writes its memory all the time, to be saved in a directory that is gone afterwards.</summary>
internal sealed class WritingMachine : IDisposable
{
    internal const ulong MemoryBytes = 1UL << 30;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-save-");
    private readonly CancellationTokenSource _stop = new();
    private readonly DeviceHost _host;
    private readonly Task _run;

    /// <param name="code">What the guest runs, see <see cref="TinyKernel"/>.</param>
    internal WritingMachine(ReadOnlySpan<byte> code)
    {
        string kernel = PathOf("kernel");
        TinyKernel.Write(kernel, code);
        _host = new DeviceHost(new KvmBoard(new KvmMachineOptions { Boot = new BootSource(kernel), MemoryBytes = MemoryBytes }));
        _host.AddSerial("ttyS0", new SerialPortOptions());
        Machine = new KvmMachine(_host);
        _run = Task.Run(() => Machine.Run(_stop.Token));
    }

    internal KvmMachine Machine { get; }

    internal string PathOf(string name) => Path.Combine(_directory.FullName, name);

    /// <summary>A word of the guest's memory.</summary>
    internal ulong Read(ulong address)
    {
        byte[] bytes = new byte[sizeof(ulong)];
        _host.Memory.TryRead(address, bytes);
        return BitConverter.ToUInt64(bytes);
    }

    internal void WaitUntil(Func<bool> condition)
    {
        for (long start = Stopwatch.GetTimestamp(); !condition(); Thread.Sleep(1))
        {
            if (_run.IsCompleted || Stopwatch.GetElapsedTime(start) > Patience)
                throw new InvalidOperationException("the guest does not write");
        }
    }

    public void Dispose()
    {
        _stop.Cancel();
        _run.Wait();
        Machine.Dispose();
        _host.Dispose();
        _stop.Dispose();
        _directory.Delete(recursive: true);
    }

    /// <summary>The median of a time of some saves, in milliseconds.</summary>
    internal static double Median(List<SnapshotResult> saves, Func<SnapshotResult, TimeSpan> of) =>
        saves.Select(save => of(save).TotalMilliseconds).Order().ElementAt(saves.Count / 2);

    internal static string Text(double value) => value.ToString("0.0", CultureInfo.InvariantCulture);
}
