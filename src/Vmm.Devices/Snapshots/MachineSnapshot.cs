using System.Globalization;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A machine that was put away: a directory with its state (<c>state.json</c>, and its checksum) and its memory. The files may come from an
/// enemy. They stay as they are while a machine runs that was restored from them: its memory is a private view of them.
/// </summary>
public sealed class MachineSnapshot
{
    internal const string StateName = "state.json", SumName = "state.crc32c", MemoryName = "memory";

    /// <summary>Everything that a save leaves in a directory.</summary>
    internal static readonly string[] Files = [StateName, SumName, MemoryName];

    internal const int Version = 1;
    private const int StateBytesMax = 64 << 20;
    private const int RegionsMax = 8;

    /// <summary>Beyond what any machine has; the machine that goes on has its own bound.</summary>
    private const int VcpusMax = 4096;

    private readonly byte[] _state;
    private readonly Head _head;

    /// <summary>What is looked at before anything is made of it.</summary>
    private sealed record Head(
        int Vcpus, ulong MemoryBytes, bool Acpi, long SavedAt, RegionLayout[] Regions, byte[] Sums, SavedImage[] Images);

    private MachineSnapshot(string directory, byte[] state)
    {
        Directory = directory;
        _state = state;
        _head = ReadHead(StateReader.Parse(state, "state", Version));
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

    internal long SavedUnixNanoseconds => _head.SavedAt;

    /// <summary>Where its memory is in the guest and in the file.</summary>
    internal IReadOnlyList<RegionLayout> Regions => _head.Regions;

    /// <summary>Opens a snapshot: reads its state, and looks whether its memory has the right size.</summary>
    /// <exception cref="StateException">It is not as it was saved; the message says what is wrong.</exception>
    /// <exception cref="IOException">A file can't be read.</exception>
    public static MachineSnapshot Open(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        byte[] state = ReadFile(directory, StateName, StateBytesMax), expected = ReadFile(directory, SumName, 64);
        string sum = SumOf(state);
        if (Encoding.ASCII.GetString(expected).Trim() != sum)
            throw new StateException($"'{Path.Combine(directory, StateName)}' is not as it was saved: its checksum is {sum}, and {SumName} "
                + "says another; a byte changed on the way, or it was edited");
        MachineSnapshot snapshot = new(directory, state);
        snapshot.OpenMemory().Dispose();
        return snapshot;
    }

    /// <summary>
    /// Compares all of the memory with its checksums, which a restore does not: it reads no more than the guest asks for.
    /// </summary>
    /// <param name="progress">Learns how far it is.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="StateException">A byte differs; the message says where.</exception>
    /// <exception cref="IOException">The file can't be read.</exception>
    public void Verify(IProgress<SnapshotProgress>? progress = null, CancellationToken cancel = default)
    {
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

    /// <summary>Maps the memory: what the guest writes stays in this process.</summary>
    /// <param name="expected">Where the machine that goes on has its memory.</param>
    /// <exception cref="StateException">Its file has another size, or it was elsewhere.</exception>
    /// <exception cref="IOException">It can't be opened.</exception>
    internal GuestMemory MapMemory(IReadOnlyList<RegionLayout> expected)
    {
        if (!Regions.SequenceEqual(expected)) throw new StateException("state.memory.regions are not where this machine has its memory");
        GuestMemory memory = new();
        try
        {
            foreach (RegionLayout layout in Regions)
            {
                if (!memory.TryAdd(GuestRegion.MapPrivate(OpenMemory(), layout), out string? refusal)) throw new StateException(refusal);
            }
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>What <see cref="SumName"/> says of a state.</summary>
    internal static string SumOf(ReadOnlySpan<byte> state) => PageSums.Sum(state).ToString("x8", CultureInfo.InvariantCulture);

    private static Head ReadHead(StateReader all)
    {
        StateReader machine = all.Record("machine"), memory = all.Record("memory");
        ulong bytes = (ulong)machine.Int64("memory-bytes", PageSums.PageBytes, (long)GuestRegion.LengthMax);
        byte[] sums = memory.Bytes("chunk-sums", StateBytesMax);
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
            throw memory.Wrong("chunk-sums", $"has {sums.Length} bytes, which does not fit {bytes} bytes of memory");
        return new Head(machine.Int32("vcpus", 1, VcpusMax), bytes, machine.Boolean("acpi"),
            machine.Int64("saved-unix-ns", 0, long.MaxValue), [.. regions], sums, SavedImage.Read(all));
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
        OwnedFd file = SnapshotCalls.OpenFile(path) ?? throw new KernelException($"cannot open '{path}'", FileCalls.LastError,
            System.IO.Directory.Exists(directory) ? "a snapshot has the files " + string.Join(", ", Files) : null);
        Errno error = MemoryCalls.Stat(file.Number, out FileStatus status);
        bytes = status.Size;
        if (error == Errno.None && status.IsRegular) return file;
        file.Dispose();
        throw new StateException($"'{path}' is no regular file: no save made it");
    }
}
