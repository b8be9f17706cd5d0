using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <summary>
/// What every backend of a disk must do, wherever its sectors are: a disk of it is driven by a guest, and compared with a model. Each
/// check opens the backend anew;
/// it may hold anything, and is overwritten.
/// </summary>
/// <param name="open">Opens the backend, of at least <see cref="BytesMin"/> bytes that may be written. The battery disposes it.</param>
/// <example><code>
/// [Theory, MemberData(nameof(Checks))]
/// public void My_backend_passes(string check) => new BackendBattery(() => new MyBackend()).Run(check);
/// </code></example>
public sealed partial class BackendBattery(Func<IBlockBackend> open)
{
    /// <summary>Least size of a backend under test.</summary>
    public const ulong BytesMin = 1 << 20;

    private const int SectorBytes = 512;

    private static readonly Dictionary<string, Action<BackendBattery>> All = new()
    {
        ["reads what was written"] = battery => battery.ReadsWhatWasWritten(),
        ["keeps what a model keeps, with many requests at once"] = battery => battery.KeepsWhatAModelKeeps(),
        ["keeps single sectors apart"] = battery => battery.KeepsSectorsApart(),
        ["serves buffers that lie anywhere and are cut anywhere"] = battery => battery.ServesAnyBuffers(),
        ["zeroes what it is asked to, and no more"] = battery => battery.ZeroesWhatItIsAsked(),
        ["discards nothing beside what it is asked to"] = battery => battery.DiscardsNothingBeside(),
        ["flushes, and writes durably for a driver without a cache"] = battery => battery.Flushes(),
        ["refuses what lies beyond its end"] = battery => battery.RefusesBeyondItsEnd(),
        ["answers full rings of several queues, round after round"] = battery => battery.AnswersFullRings(),
        ["goes on after resets with requests in flight"] = battery => battery.GoesOnAfterResets(),
        ["goes on after pauses with requests in flight"] = battery => battery.GoesOnAfterPauses(),
        ["keeps its sectors from one driver to the next"] = battery => battery.KeepsItsSectors(),
    };

    /// <summary>The names of the checks.</summary>
    public static IReadOnlyCollection<string> Checks => All.Keys;

    /// <summary>Whether it keeps what is written; a backend that reads as zero passes those checks that ask for no more.</summary>
    public bool KeepsContent { get; init; } = true;

    /// <summary>Decides what is random; print it, to do the same again.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Runs one check.</summary>
    /// <param name="check">One of <see cref="Checks"/>.</param>
    /// <exception cref="BatteryFailedException">The backend did not pass.</exception>
    public void Run(string check)
    {
        try
        {
            All[check](this);
        }
        catch (Exception failure) when (failure is InvalidOperationException or InvalidDataException or TimeoutException)
        {
            throw new BatteryFailedException($"{check}, seed {Seed}: {failure.Message}");
        }
    }

    private SimulatedGuest Guest(int queues = 1)
    {
        IBlockBackend backend = open();
        if (backend.CapacityBytes < BytesMin)
            throw new InvalidDataException($"the backend has {backend.CapacityBytes} bytes: the battery needs {BytesMin}");
        return SimulatedGuest.For(
            new BlockDevice("vda", backend, new DiskSpec { Queues = queues }), new SimulatedGuestOptions { MemoryBytes = 64 << 20 });
    }

    private byte[] Pattern(int bytes, int seed)
    {
        byte[] pattern = new byte[bytes];
        if (KeepsContent) new Random(Seed + seed).NextBytes(pattern);
        return pattern;
    }

    private static DriverRequest Read(SimulatedGuest guest, int sector, int sectors, int queue = 0) =>
        guest.Queue(queue).Add([Header(BlockRequestType.In, sector)], [sectors * SectorBytes, 1]);

    private static DriverRequest Write(SimulatedGuest guest, int sector, byte[] data, int queue = 0) =>
        guest.Queue(queue).Add([Header(BlockRequestType.Out, sector), data], [1]);

    private static DriverRequest Flush(SimulatedGuest guest, int queue = 0) =>
        guest.Queue(queue).Add([Header(BlockRequestType.Flush, 0)], [1]);

    private static DriverRequest Range(SimulatedGuest guest, BlockRequestType type, int sector, int sectors, uint flags = 0)
    {
        byte[] range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, (ulong)sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), (uint)sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return guest.Queue(0).Add([Header(type, 0), range], [1]);
    }

    private static byte[] Header(BlockRequestType type, int sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), (ulong)sector);
        return header;
    }

    /// <summary>Kicks every queue, and waits for requests.</summary>
    private static void Await(SimulatedGuest guest, params DriverRequest[] requests)
    {
        for (int i = 0; i < guest.Device.Queues.Count; i++) guest.Kick(i);
        guest.RunUntil(() => Array.TrueForAll(requests, request => request.IsUsed));
    }

    /// <summary>Waits for requests, which all have to succeed.</summary>
    private static void AwaitOk(SimulatedGuest guest, params DriverRequest[] requests)
    {
        Await(guest, requests);
        foreach (DriverRequest request in requests)
        {
            BlockStatus status = (BlockStatus)request.Content[^1];
            if (status != BlockStatus.Ok) throw new InvalidDataException($"a request was answered by {status}");
        }
    }

    private static void Same(byte[] expected, DriverRequest read, string what) => Same(expected, read.Content[..^1], what);

    private static void Same(byte[] expected, byte[] found, string what)
    {
        if (expected.AsSpan().SequenceEqual(found)) return;
        int first = expected.AsSpan().CommonPrefixLength(found);
        throw new InvalidDataException($"{what}: byte {first} of {expected.Length} is 0x{found[first]:x2}, and should be "
            + $"0x{expected[first]:x2}");
    }
}
