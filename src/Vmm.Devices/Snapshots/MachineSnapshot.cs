using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmm.Devices;

/// <summary>
/// A machine that was put away: a directory with its state (<c>state.json</c>, and its checksum) and its memory. The files may come from an
/// enemy. They stay as they are while a machine runs that was restored from them: its memory is a private view of them.
/// </summary>
public sealed class MachineSnapshot
{
    internal const string StateName = "state.json", SumName = "state.crc32c", MemoryName = "memory";

    internal const string IdName = "id", SumsName = "chunk-sums";
    internal const int IdBytes = 16;

    /// <summary>Longest chain of differences: each is opened, and its state read, by a restore.</summary>
    internal const int DifferencesMax = 64;

    /// <summary>Everything that a save leaves in a directory.</summary>
    internal static readonly string[] Files = [StateName, SumName, MemoryName];

    internal const int Version = 1;
    private const int StateBytesMax = 64 << 20;
    private const int RegionsMax = 8;

    /// <summary>Beyond what any machine has; the machine that goes on has its own bound.</summary>
    private const int VcpusMax = 4096;

    private readonly byte[] _state;
    private readonly Head _head;
    private readonly Dictionary<string, int> _places;

    /// <summary>What is looked at before anything is made of it.</summary>
    private sealed record Head(int Vcpus, ulong MemoryBytes, bool Acpi, long SavedAt, string Id, RegionLayout[] Regions, byte[] Sums,
        SavedImage[] Images, SnapshotBase? Base);

    private MachineSnapshot(string directory)
    {
        Directory = directory;
        _state = ReadFile(directory, StateName, StateBytesMax);
        byte[] expected = ReadFile(directory, SumName, 64);
        string sum = SumOf(_state);
        if (Encoding.ASCII.GetString(expected).Trim() != sum)
            throw new StateException($"'{PathOf(StateName)}' is not as it was saved: its checksum is {sum}, and {SumName} "
                + "says another; a byte changed since it was written, or it was edited");
        StateReader all = StateReader.Parse(_state, "state", Version);
        _head = ReadHead(all);
        _places = SavedHost.ReadPlaces(all.Record("host"));
        OpenMemory().Dispose();
    }

    /// <summary>The directory, as it was named.</summary>
    public string Directory { get; }

    /// <summary>vCPUs of the machine.</summary>
    public int Vcpus => _head.Vcpus;

    /// <summary>Bytes of its memory.</summary>
    public ulong MemoryBytes => _head.MemoryBytes;

    /// <summary>Whether it has ACPI.</summary>
    public bool Acpi => _head.Acpi;

    /// <summary>When it was saved, by the clock of the host that did.</summary>
    public DateTimeOffset SavedAt => DateTimeOffset.UnixEpoch.AddTicks(SavedUnixNanoseconds / 100);

    /// <summary>The names of its virtio devices, in the order in which they were added.</summary>
    public IReadOnlyCollection<string> DeviceNames => _places.Keys;

    /// <summary>The place that a device of the machine has on its board; null if it has none of that name.</summary>
    internal int? PlaceOf(string device) => _places.TryGetValue(device, out int place) ? place : null;

    /// <summary>
    /// What this one has only the difference to; null if it is whole. It is beside it, and was found to be the right one.
    /// </summary>
    public MachineSnapshot? Base { get; private set; }

    /// <summary>Names the moment at which the machine was saved; empty if its program was too old for that.</summary>
    internal string Id => _head.Id;

    /// <summary>How many differences it is made of.</summary>
    internal int Differences => Chain.Count() - 1;

    internal long SavedUnixNanoseconds => _head.SavedAt;

    /// <summary>Where its memory is in the guest and in the file.</summary>
    internal IReadOnlyList<RegionLayout> Regions => _head.Regions;

    /// <summary>
    /// Opens a snapshot: reads its state, and looks whether its memory has the right size. If it is a difference, so are those that it is
    /// one to.
    /// </summary>
    /// <exception cref="StateException">It is not as it was saved; the message says what is wrong.</exception>
    /// <exception cref="IOException">A file can't be read.</exception>
    public static MachineSnapshot Open(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        MachineSnapshot opened = new(directory), last = opened;
        for (int differences = 0; last._head.Base is { } to; last = last.Base)
        {
            last.Base = last.OpenBase(to);
            if (++differences > DifferencesMax)
                throw new StateException($"'{directory}' is a chain of more than {DifferencesMax} differences: no save made that");
        }
        return opened;
    }

    /// <summary>
    /// Compares all of the memory with its checksums, which a restore does not: it reads no more than the guest asks for. Of a difference,
    /// all that it is made of.
    /// </summary>
    /// <param name="progress">Learns how far it is.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="StateException">A byte differs; the message says where.</exception>
    /// <exception cref="IOException">The file can't be read.</exception>
    public void Verify(IProgress<SnapshotProgress>? progress = null, CancellationToken cancel = default)
    {
        Base?.Verify(progress, cancel);
        using OwnedFd memory = OpenMemory();
        byte[] content = new byte[PageSums.ChunkBytes];
        uint hole = PageSums.OfChunk(content);
        long end = (long)MemoryBytes;
        for (int chunk = 0; chunk < PageSums.ChunkCount(MemoryBytes); chunk++)
        {
            cancel.ThrowIfCancellationRequested();
            long start = (long)chunk * PageSums.ChunkBytes;
            Span<byte> part = content.AsSpan(0, (int)Math.Min(PageSums.ChunkBytes, end - start));
            bool isHole = part.Length == content.Length && FileCalls.Seek(memory.Number, start, FileCalls.SEEK_DATA) is var data
                && (data < 0 || data >= start + part.Length);
            if (!isHole && SnapshotCalls.Read(memory, part, start, out Errno error) < part.Length)
                throw new KernelException($"cannot read '{PathOf(MemoryName)}' at {start}", error);
            uint found = isHole ? hole : PageSums.OfChunk(part), saved = BitConverter.ToUInt32(_head.Sums, chunk * sizeof(uint));
            if (found != saved)
                throw new StateException($"'{PathOf(MemoryName)}' is not as it was saved: the checksum of its bytes {start} to "
                    + $"{start + part.Length - 1} is {found:x8}, not {saved:x8}");
            progress?.Report(new SnapshotProgress((ulong)(start + part.Length), MemoryBytes));
        }
    }

    /// <summary>
    /// Writes a whole snapshot of the same moment into a new directory, which appears whole or not at all. It may take the place of this
    /// one: differences to this one are differences to it. All of the memory is compared with its checksums first.
    /// </summary>
    /// <param name="directory">It is not there yet, and its parent is.</param>
    /// <param name="progress">Learns how far it is, first with comparing, then with writing.</param>
    /// <param name="cancel">Gives it up.</param>
    /// <returns>Bytes of memory that were written: those that are no zeros.</returns>
    /// <exception cref="StateException">A byte differs; the message says where.</exception>
    /// <exception cref="IOException">The host refuses, or has no room.</exception>
    public long Merge(string directory, IProgress<SnapshotProgress>? progress = null, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        using SnapshotDirectory target = SnapshotDirectory.Begin(directory);
        Verify(progress, cancel);
        using GuestMemory memory = MapMemory(Regions);
        MemoryImageWriter writer = new(target.Create(MemoryName), memory.Regions);
        writer.WriteAll(null, progress, cancel);
        WriteState(target, WholeState(writer.Sums()));
        cancel.ThrowIfCancellationRequested();
        target.Commit();
        return writer.Written;
    }

    /// <summary>Disks whose images are not as they were when the machine was saved, each in a sentence.</summary>
    /// <param name="host">It has the disks of the machine that is to go on.</param>
    public IReadOnlyList<string> ChangedImages(DeviceHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        List<SavedImage> here = SavedImage.Of(host);
        return [.. _head.Images.Select(image => image.Difference(here.Find(other => other.Disk == image.Disk))).OfType<string>()];
    }

    /// <summary>The whole state, to be read once.</summary>
    internal StateReader Read()
    {
        StateReader all = StateReader.Parse(_state, "state", Version);
        ReadHead(all);
        return all;
    }

    /// <summary>Maps the memory, where the machine that goes on expects it: what the guest writes stays in this process.</summary>
    /// <exception cref="StateException">Its file has another size, or it was elsewhere.</exception>
    /// <exception cref="IOException">It can't be opened.</exception>
    internal GuestMemory MapMemory(IReadOnlyList<RegionLayout> expected)
    {
        if (!Regions.SequenceEqual(expected)) throw new StateException("state.memory.regions are not where this machine has its memory");
        GuestMemory memory = new();
        try
        {
            MachineSnapshot[] chain = [.. Chain];
            foreach (RegionLayout layout in Regions)
            {
                GuestRegion region = GuestRegion.MapPrivate(chain[^1].OpenMemory(), layout);
                if (!memory.TryAdd(region, out string? refusal)) throw new StateException(refusal);
                ulong[] newer = DirtyPages.None(layout.Length);
                foreach (MachineSnapshot difference in chain.AsSpan(0, chain.Length - 1)) difference.Overlay(region, newer);
            }
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>This one, what it is a difference to, and so on; the last one is whole.</summary>
    private IEnumerable<MachineSnapshot> Chain
    {
        get
        {
            for (MachineSnapshot? each = this; each is not null; each = each.Base) yield return each;
        }
    }

    /// <summary>Puts the pages of this difference over a region, but for those that a newer one has.</summary>
    private void Overlay(GuestRegion region, ulong[] newer)
    {
        ReadOnlySpan<ulong> all = _head.Base!.Pages.AsSpan((int)(region.Layout.FileOffset / DirtyPages.WordBytes));
        ulong[] pages = DirtyPages.None(region.Length);
        for (int i = 0; i < pages.Length; i++)
        {
            pages[i] = all[i] & ~newer[i];
            newer[i] |= pages[i];
        }
        using OwnedFd memory = OpenMemory();
        region.Overlay(memory, pages);
    }

    private MachineSnapshot OpenBase(SnapshotBase difference)
    {
        string parent = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(Directory))) ?? "/";
        string path = Path.Combine(parent, difference.Name);
        MachineSnapshot found = TryRead(path)
            ?? throw new StateException($"'{Directory}' has only what changed since '{path}', which is not there: put it back beside it");
        if (found.Id != difference.Id)
            throw new StateException($"'{Directory}' has only what changed since another snapshot than '{path}': that was {difference.Id}, "
                + $"and this is {(found.Id.Length > 0 ? found.Id : "without a name")}; put the right one there");
        if (!found.Regions.SequenceEqual(Regions) || found.Vcpus != Vcpus || found.Acpi != Acpi)
            throw new StateException($"'{Directory}' is a difference to '{path}', which is of another machine");
        return found;
    }

    /// <summary>Reads a snapshot alone; null if there is none. A sandbox shows files that may be opened, and their directory not.</summary>
    private static MachineSnapshot? TryRead(string path)
    {
        try
        {
            return new MachineSnapshot(path);
        }
        catch (KernelException missing) when (missing.Errno == Errno.NoEntry)
        {
            return null;
        }
    }

    /// <summary>Writes a state, and its checksum next to it.</summary>
    internal static void WriteState(SnapshotDirectory target, byte[] state)
    {
        target.Create(StateName, state);
        target.Create(SumName, Encoding.ASCII.GetBytes(SumOf(state) + "\n"));
    }

    /// <summary>What <see cref="SumName"/> says of a state.</summary>
    internal static string SumOf(ReadOnlySpan<byte> state) => PageSums.Sum(state).ToString("x8", CultureInfo.InvariantCulture);

    private static Head ReadHead(StateReader all)
    {
        StateReader machine = all.Record("machine"), memory = all.Record("memory");
        ulong bytes = (ulong)machine.Int64("memory-bytes", PageSums.PageBytes, (long)GuestRegion.LengthMax);
        byte[] sums = memory.Bytes(SumsName, StateBytesMax);
        List<RegionLayout> regions = [];
        ulong sum = 0;
        foreach (StateReader region in memory.Items("regions", RegionsMax))
        {
            ulong length = region.UInt64("length", GuestRegion.LengthMax);
            if (length == 0 || length % PageSums.PageBytes != 0) throw region.Wrong("length", $"is 0x{length:x}, which is not whole pages");
            regions.Add(new RegionLayout(region.UInt64("address"), length, sum));
            sum += length;
        }
        if (sum != bytes) throw memory.Wrong("regions", $"have {sum} bytes together, and the machine has {bytes}");
        if (sums.Length != PageSums.ChunkCount(bytes) * sizeof(uint))
            throw memory.Wrong(SumsName, $"has {sums.Length} bytes, which does not fit {bytes} bytes of memory");
        return new Head(machine.Int32("vcpus", 1, VcpusMax), bytes, machine.Boolean("acpi"),
            machine.Int64("saved-unix-ns", 0, long.MaxValue), machine.Has(IdName) ? Convert.ToHexStringLower(machine.Bytes(IdName, IdBytes))
            : "", [.. regions], sums, SavedImage.Read(all), SnapshotBase.Read(memory, regions));
    }

    private string PathOf(string name) => Path.Combine(Directory, name);

    private OwnedFd OpenMemory()
    {
        OwnedFd file = OpenFile(Directory, MemoryName, out long bytes);
        if (bytes == (long)MemoryBytes) return file;
        file.Dispose();
        throw new StateException($"'{PathOf(MemoryName)}' has {bytes} bytes, and the machine's memory has {MemoryBytes}: "
            + (bytes < (long)MemoryBytes ? "it was cut short" : "it is of another machine"));
    }

    private byte[] WholeState(byte[] sums)
    {
        JsonNode state = JsonNode.Parse(_state)!;
        JsonObject memory = state["memory"]!.AsObject();
        SnapshotBase.Remove(memory);
        memory[SumsName] = Convert.ToBase64String(sums);
        using MemoryStream text = new();
        using (Utf8JsonWriter json = new(text, new JsonWriterOptions { Indented = true })) state.WriteTo(json);
        return text.ToArray();
    }

    private static byte[] ReadFile(string directory, string name, int bytesMax)
    {
        using OwnedFd file = OpenFile(directory, name, out long bytes);
        string path = Path.Combine(directory, name);
        if (bytes > bytesMax) throw new StateException($"'{path}' has {bytes} bytes, more than {bytesMax}: no save wrote it");
        byte[] content = new byte[bytes];
        int read = SnapshotCalls.Read(file, content, 0, out Errno error);
        if (error != Errno.None) throw new KernelException($"cannot read '{path}'", error);
        return content[..read];
    }

    private static OwnedFd OpenFile(string directory, string name, out long bytes)
    {
        string path = Path.Combine(directory, name);
        OwnedFd file = SnapshotCalls.OpenFile(path) ?? throw new KernelException($"cannot open '{path}'", CallResult.LastError,
            System.IO.Directory.Exists(directory) ? "a snapshot has the files " + string.Join(", ", Files) : null);
        Errno error = MemoryCalls.Stat(file.Number, out FileStatus status);
        bytes = status.Size;
        if (error == Errno.None && status.IsRegular) return file;
        file.Dispose();
        throw new StateException($"'{path}' is no regular file: no save made it");
    }
}
