using System.Globalization;

namespace Vmm.EndToEnd;

/// <summary>
/// A power cut of the whole path: a guest's ext4 and its database in WAL mode on a disk of <c>vmm serve</c>, whose image lies on storage that keeps a
/// log of writes and syncs. From the states that the log allows some are mounted and checked. The guest acknowledges a step on its console.
/// </summary>
[Tried("Linux, User Mode Linux's ext4 and sqlite3", "user-mode-linux", "6.1", Devices = "disk",
    Result = "what was acknowledged is there after a power cut, write-back and write-through, every engine", HowTo = "`tools/guest/tests/power-cut.sh`")]
public sealed class UmlPowerCutTests
{
    private const string Acknowledged = "vmm-safe ";

    /// <summary>Engines, and whether the guest switches the write cache off.</summary>
    public static TheoryData<string, bool> Disks => new()
    {
        { "ring", false }, { "ring", true }, { "threads", false }, { "threads", true }, { "synchronous", false }, { "synchronous", true },
    };

    [Theory, MemberData(nameof(Disks))]
    public void What_a_guest_was_told_to_be_durable_is_there_after_a_power_cut(string engine, bool writesThrough) => Cut(engine, writesThrough, states: 9);

    [Theory, MemberData(nameof(Disks)), Trait("Long", "true")]
    public void What_a_guest_was_told_to_be_durable_is_there_after_a_thousand_power_cuts_of_each_engine(string engine, bool writesThrough) =>
        Cut(engine, writesThrough, states: 500);

    private static void Cut(string engine, bool writesThrough, int states)
    {
        UmlGuest.SkipIfMissing();
        DiskLog log = new();
        int ready = Work(engine, writesThrough, log);
        using PowerCuts cuts = new(log, ready);
        cuts.Check(states);
    }

    /// <returns>How long the log was when the guest began the work.</returns>
    private static int Work(string engine, bool writesThrough, DiskLog log)
    {
        using ScratchDirectory scratch = new();
        using FaultyFileSystem storage = new(new MemoryStorage(PowerCutWork.DiskBytes) { Log = log });
        string socket = scratch.PathOf("s"), cache = writesThrough ? "write through" : "write back";
        using VmmProcess vmm = UmlGuest.Serve([], "--blk", $"path={storage.Path},socket={socket},engine={engine}");
        int ready = 0, syncsBefore = 0, syncsAfter = 0;
        void OnPrinted(string line)
        {
            if (line == "vmm-ready") (ready, syncsBefore) = (log.Length, log.Syncs);
            if (!line.StartsWith(Acknowledged, StringComparison.Ordinal)) return;
            log.Acknowledge(int.Parse(line.AsSpan(Acknowledged.Length), CultureInfo.InvariantCulture));
            syncsAfter = log.Syncs;
        }
        using UmlGuest guest = new(OnPrinted, "power-cut", UmlGuest.DiskAt(socket), $"vmm.cache={cache.Replace(' ', '-')}", $"vmm.rows={PowerCutWork.Rows}",
            $"vmm.bytes={PowerCutWork.FileBytes}", $"vmm.delete={PowerCutWork.DeletedEvery},{PowerCutWork.DeletedBefore}");
        string[] console = guest.WaitForPowerOff();
        string printed = string.Join('\n', console);
        Assert.True(console.Contains("vmm-test power-cut passed") && console.Contains("vmm-log clean") && ready > 0, printed);
        Assert.Contains($"vmm-cache {cache}", console);
        Assert.True(console.Contains($"{Acknowledged}{PowerCutWork.Rows}"), printed);
        // What the two modes promise, they do in two ways: with a sync after the writes, or with each write.
        int syncs = syncsAfter - syncsBefore;
        Assert.True(writesThrough || syncs > PowerCutWork.Rows, $"only {syncs} syncs for {PowerCutWork.Rows} rows");
        Assert.True(!writesThrough || log.DurableWrites > PowerCutWork.Rows, $"only {log.DurableWrites} durable writes for {PowerCutWork.Rows} rows");
        guest.Kill();
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        return ready;
    }
}
