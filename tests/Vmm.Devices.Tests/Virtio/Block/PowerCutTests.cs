using System.Diagnostics;
using System.Globalization;

namespace Vmm.Devices.Tests;

/// <summary>
/// A power cut below the host's own kernel: ext4 and a database in WAL mode on a disk of ours, whose storage keeps a log of writes and syncs. From
/// the states that the log allows some are mounted and checked. The same under a guest is <c>UmlPowerCutTests</c> of Vmm.EndToEnd.
/// </summary>
[Collection(Alone.Name)]
public sealed class PowerCutTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-power-").FullName;

    public static TheoryData<BlockEngineKind, bool> Disks => BlockEngineTests.Engines;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory, MemberData(nameof(Disks))]
    public void What_was_said_to_be_safe_is_there_after_a_power_cut(BlockEngineKind engine, bool writesThrough) => Cut(engine, writesThrough, states: 9);

    [Theory, MemberData(nameof(Disks)), Trait("Long", "true")]
    public void What_was_said_to_be_safe_is_there_after_a_thousand_power_cuts_of_each_engine(BlockEngineKind engine, bool writesThrough) => Cut(engine, writesThrough, states: 500);

    private void Cut(BlockEngineKind engine, bool writesThrough, int states)
    {
        DiskLog log = new();
        int ready = Work(engine, writesThrough, log);
        using PowerCuts cuts = new(log, ready);
        cuts.Check(states);
    }

    /// <summary>Has the file system and the database do their work, until the end of it is said to be safe.</summary>
    /// <returns>How long the log was when the disk was ready for it.</returns>
    private int Work(BlockEngineKind engine, bool writesThrough, DiskLog log)
    {
        using FaultyFileSystem storage = new(new MemoryStorage(PowerCutWork.DiskBytes) { Log = log });
        BlockDevice device = new("vda", RawImage.Open(storage.Path, engine: engine));
        using FaultyFileSystem disk = new(new VirtioStorage(PowerCutWork.DiskBytes, device, writesThrough));
        using LoopDevice loop = new(disk.Path);
        HostCommand.Check("mkfs.ext4", "-q", "-b", "1024", "-J", "size=2", "-E", "lazy_itable_init=0,lazy_journal_init=0", loop.Path);
        using Mounted mounted = new(loop.Path, _directory);
        using Database database = new(mounted.Path(PowerCutWork.DatabaseName));
        database.Do(PowerCutWork.Prepare);
        Assert.Equal("wal 20 0", $"{database.Ask("")} {database.Ask("")} {database.Ask("SELECT 0;")}");
        HostCommand.Check("sync", "--file-system", mounted.Path(PowerCutWork.DatabaseName));
        int ready = log.Length;
        for (int row = 1; row <= PowerCutWork.Rows; row++)
        {
            using (FileStream file = File.Create(mounted.Path(PowerCutWork.FileName(row))))
            {
                file.Write(PowerCutWork.Content(row));
                file.Flush(flushToDisk: true);
            }
            database.Do(PowerCutWork.Insert(row));
            Assert.Equal(row.ToString(CultureInfo.InvariantCulture), database.Ask("SELECT max(id) FROM rows;"));
            log.Acknowledge(row);
            if (row % PowerCutWork.DeletedEvery == 0) File.Delete(mounted.Path(PowerCutWork.FileName(row - PowerCutWork.DeletedBefore)));
        }
        Assert.True(writesThrough || log.Syncs > PowerCutWork.Rows, $"only {log.Syncs} syncs for {PowerCutWork.Rows} rows");
        return ready;
    }

    /// <summary>A file system of the host's, while it is mounted.</summary>
    private sealed class Mounted : IDisposable
    {
        private readonly string _directory;

        internal Mounted(string device, string under)
        {
            _directory = System.IO.Path.Combine(under, "mounted");
            Directory.CreateDirectory(_directory);
            HostCommand.Check("mount", device, _directory);
        }

        internal string Path(string name) => System.IO.Path.Combine(_directory, name);

        public void Dispose() => HostCommand.Check("umount", _directory);
    }

    /// <summary>A database that is written by sqlite3(1).</summary>
    private sealed class Database : IDisposable
    {
        private readonly Process _process;

        internal Database(string path) => _process = Process.Start(new ProcessStartInfo("sqlite3", ["-batch", path])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;

        internal void Do(string statement) => _process.StandardInput.WriteLine(statement);

        /// <returns>The next line that it prints.</returns>
        internal string? Ask(string query)
        {
            _process.StandardInput.WriteLine(query);
            _process.StandardInput.Flush();
            return _process.StandardOutput.ReadLine();
        }

        public void Dispose()
        {
            // Without the checkpoint of a database that is closed.
            _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }
    }
}
