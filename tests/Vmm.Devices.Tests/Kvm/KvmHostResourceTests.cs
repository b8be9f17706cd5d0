using Iced.Intel;
using Vmm.Devices.Kvm;
using Vmm.Events;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>What a machine takes of its host by name: processors and huge pages.</summary>
public sealed class KvmHostResourceTests : IDisposable
{
    private const ulong MiB = 1 << 20;

    /// <summary>Of 2 MiB.</summary>
    private const ulong Pages = 16;

    private const int Marks = 0x80_0000;
    private const string HugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-resources-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [KvmFact]
    public async Task A_vcpu_stays_on_the_processor_that_it_is_given()
    {
        int last = Processors.OfCallingThread()[^1];
        using DeviceHost host = new(new KvmBoard(Options(runsForEver: true) with { Cpus = [last] }));
        using KvmMachine machine = new(host);
        using CancellationTokenSource stop = new();
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), TestContext.Current.CancellationToken);
        string[] allowed = [];
        Assert.True(SpinWait.SpinUntil(() => (allowed = AllowedOf("vcpu0")).Contains($"{last}"), KvmGuest.Watchdog), string.Join(", ", allowed));
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
    }

    [Fact]
    public void A_processor_that_is_not_there_is_refused_before_anything_is_made()
    {
        KernelException refused = Assert.Throws<KernelException>(() => new KvmBoard(Options() with { Cpus = [1023] }));
        Assert.Contains("cannot keep a vCPU on processor 1023", refused.Message);
        Assert.Contains("this process may use 0", refused.Message);
        Assert.Contains("at most one for each", Assert.Throws<ArgumentException>(() => new KvmBoard(Options() with { Cpus = [0, 0] })).Message);
    }

    [KvmFact]
    public void A_guest_runs_on_huge_pages_which_are_given_back_at_its_end() => OnHugePages(Options(), (_, machine) =>
    {
        using CancellationTokenSource watchdog = new(KvmGuest.Watchdog);
        Assert.Equal(MachineEnd.PoweredOff, machine.Run(watchdog.Token).End);
    });

    [KvmFact]
    public void A_guest_on_huge_pages_stands_still_while_it_is_saved_and_goes_on_there_and_on_small_pages() => OnHugePages(Options(runsForEver: true),
        (host, machine) =>
        {
            string saved = Path.Combine(_directory, "saved");
            byte[] marks = new byte[3 * MiB];
            new Random(1).NextBytes(marks);
            Assert.True(host.Memory.TryWrite(Marks, marks));
            RunThrough(machine, () =>
            {
                List<uint> counts = [];
                SnapshotResult result = machine.SaveAsync(saved, new SnapshotOptions
                {
                    Progress = new SteadyProgress(() => counts.Add(KernelCode.Read(host))),
                }, TestContext.Current.CancellationToken).GetAwaiter().GetResult();
                Assert.True(counts.Count > 3);
                Assert.Single(counts.Distinct());
                Assert.InRange(result.BytesWritten, marks.Length, (long)(2 * Pages * MiB));
            });
            MachineSnapshot snapshot = MachineSnapshot.Open(saved);
            snapshot.Verify(cancel: TestContext.Current.CancellationToken);
            using DeviceHost small = new(new KvmBoard(KvmMachineOptions.GoingOn(snapshot)));
            using KvmMachine other = new(small);
            Assert.True(KernelCode.Read(small) > 0);
            byte[] found = new byte[marks.Length];
            Assert.True(small.Memory.TryRead(Marks, found));
            Assert.Equal(marks, found);
            RunThrough(other, () => { });
        });

    /// <summary>Runs a machine whose guest counts, until something is done and it has counted on.</summary>
    private static void RunThrough(KvmMachine machine, Action meanwhile)
    {
        using CancellationTokenSource stop = new();
        Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token), CancellationToken.None);
        WaitForCount(machine);
        meanwhile();
        WaitForCount(machine);
        stop.Cancel();
        Assert.True(run.Wait(KvmGuest.Watchdog, TestContext.Current.CancellationToken));
    }

    /// <summary>Puts pages aside on the host for a machine, and looks that it gives all of them back.</summary>
    private static void OnHugePages(KvmMachineOptions options, Action<DeviceHost, KvmMachine> use)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "huge pages are put aside by root");
        ulong before = Read("nr_hugepages");
        try
        {
            File.WriteAllText(HugePages + "nr_hugepages", $"{before + Pages}");
            Assert.SkipUnless(Read("free_hugepages") >= Pages, "this host's memory has no room for huge pages");
            using (DeviceHost host = new(new KvmBoard(options with { MemoryBytes = 2 * Pages * MiB, Pages = PageSize.TwoMiB })))
            {
                // All are reserved, whichever the guest touches.
                Assert.Equal(Pages, Read("resv_hugepages"));
                using KvmMachine machine = new(host);
                use(host, machine);
            }
            Assert.Equal(0ul, Read("resv_hugepages"));
        }
        finally
        {
            File.WriteAllText(HugePages + "nr_hugepages", $"{before}");
        }
    }

    private sealed class SteadyProgress(Action report) : IProgress<SnapshotProgress>
    {
        public void Report(SnapshotProgress value) => report();
    }

    [Fact]
    public void Huge_pages_that_the_host_has_not_are_refused_in_a_sentence()
    {
        Assert.SkipUnless(Directory.Exists(HugePages), "this kernel has no huge pages of 2 MiB");
        ulong asked = 2 * (Read("free_hugepages") + 1000) * MiB;
        KernelException refused = Assert.Throws<KernelException>(() => GuestRegion.Create(0, asked, PageSize.TwoMiB));
        Assert.Contains("huge pages of 2 MiB are not free: put as many aside", refused.Message);
        Assert.Contains("give it whole pages of 1024 MiB",
            Assert.Throws<ArgumentException>(() => new KvmBoard(Options() with { Pages = PageSize.OneGiB })).Message);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(-1, 22)]
    [InlineData(1024, 22)]
    public void A_thread_is_kept_on_a_processor_or_that_is_refused(int offset, int errno)
    {
        int number = errno == 0 ? Processors.OfCallingThread()[0] : offset;
        Exception? refused = null;
        int[] kept = [];
        Thread thread = new(() =>
        {
            refused = Record.Exception(() => Processors.PinCallingThread(number, "a test"));
            kept = [.. Processors.OfCallingThread()];
        });
        thread.Start();
        thread.Join();
        if (errno == 0) Assert.Equal([number], kept);
        else Assert.Equal(errno, (int)Assert.IsType<KernelException>(refused).Errno);
    }

    /// <summary>A machine whose kernel powers it off, or goes in a circle.</summary>
    private KvmMachineOptions Options(bool runsForEver = false)
    {
        string kernel = Path.Combine(_directory, "kernel");
        File.WriteAllBytes(kernel, ElfFile.Of(KernelCode.Assemble(32, c =>
        {
            c.mov(edx, 0x600);
            c.mov(eax, (AcpiPowerControl.SleepTypeOff << 2) | 0x20);
            if (!runsForEver) c.@out(dx, al);
            Label loop = c.CreateLabel();
            c.Label(ref loop);
            c.inc(__dword_ptr[Counter]);
            c.jmp(loop);
        }), pvh: true));
        return new KvmMachineOptions { Boot = new BootSource(kernel), MemoryBytes = 32 * MiB };
    }

    /// <summary>The processors that this process's threads of a name may use.</summary>
    private static string[] AllowedOf(string thread)
    {
        const string Key = "Cpus_allowed_list:";
        List<string> found = [];
        foreach (string task in Directory.GetDirectories("/proc/self/task"))
        {
            try
            {
                if (File.ReadAllText(Path.Combine(task, "comm")).Trim() != thread) continue;
                found.Add(File.ReadLines(Path.Combine(task, "status")).Single(line => line.StartsWith(Key, StringComparison.Ordinal))[Key.Length..].Trim());
            }
            catch (IOException)
            {
                // It has ended meanwhile.
            }
        }
        return [.. found];
    }

    private static ulong Read(string name) => ulong.Parse(File.ReadAllText(HugePages + name));
}
