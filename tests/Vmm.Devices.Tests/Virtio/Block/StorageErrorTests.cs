using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What the guest gets when the storage below its image fails, seen by real system calls: the same on every engine.</summary>
[Collection(Alone.Name)]
public sealed class StorageErrorTests : IDisposable
{
    private const int DiskBytes = 1 << 20, WritebackOffset = 32;

    private readonly MemoryStorage _memory = new(DiskBytes);
    private readonly FaultyFileSystem _storage;

    public StorageErrorTests() => _storage = new FaultyFileSystem(_memory);

    public static TheoryData<BlockEngineKind, bool> Engines => BlockEngineTests.Engines;

    public static TheoryData<BlockEngineKind, BlockRequestType, Errno, BlockStatus> Table
    {
        get
        {
            TheoryData<BlockEngineKind, BlockRequestType, Errno, BlockStatus> table = [];
            foreach (BlockEngineKind engine in Enum.GetValues<BlockEngineKind>())
            {
                foreach (BlockRequestType type in (BlockRequestType[])
                    [BlockRequestType.In, BlockRequestType.Out, BlockRequestType.Flush, BlockRequestType.Discard, BlockRequestType.WriteZeroes])
                {
                    foreach (Errno error in (Errno[])[Errno.Interrupted, Errno.Again]) table.Add(engine, type, error, BlockStatus.Ok);
                    foreach (Errno error in (Errno[])[Errno.InputOutput, Errno.NoSpace]) table.Add(engine, type, error, BlockStatus.IoError);
                    bool hasAnotherWay = type is BlockRequestType.Discard or BlockRequestType.WriteZeroes;
                    table.Add(engine, type, Errno.NotSupported, hasAnotherWay ? BlockStatus.Ok : BlockStatus.IoError);
                }
            }
            return table;
        }
    }

    public void Dispose() => _storage.Dispose();

    [Theory, MemberData(nameof(Table))]
    public void An_error_of_the_storage_means_the_same_on_each_engine(BlockEngineKind engine, BlockRequestType type, Errno error, BlockStatus expected)
    {
        using SimulatedGuest guest = Guest(engine);
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Out));
        int left = error is Errno.Interrupted or Errno.Again ? 5 : int.MaxValue;
        FuseRequest reached = RequestOf(type);
        _storage.Fault = request => request == reached && left-- > 0 ? error : Errno.None;
        Assert.Equal(expected, Ask(guest, type));
        Assert.True(left is <= 0 or > 1000, "the storage was not asked again");
        _storage.Fault = null;
        if (expected == BlockStatus.Ok && type == BlockRequestType.WriteZeroes) Assert.Equal(new byte[8 * 512], _memory.Content[..(8 * 512)]);
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.In));
    }

    /// <summary>A file system whose page cache is not written without waiting: neither the reactor nor a queue behind it waits.</summary>
    [Fact]
    public void A_neighbour_is_served_while_the_storage_takes_its_time_for_writes()
    {
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring);
        using ManualResetEventSlim reached = new(), go = new();
        bool wasReleased = true;
        // The first write has the thread made; the ring has it.
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Out));
        Assert.True(SpinWait.SpinUntil(HasWriter, TimeSpan.FromSeconds(30)), "no thread for writes");
        _storage.Fault = request =>
        {
            if (request != FuseRequest.Write) return Errno.None;
            reached.Set();
            wasReleased &= go.Wait(TimeSpan.FromSeconds(30));
            return Errno.None;
        };
        byte[] data = BlockGuest.Pattern(16 * 512);
        DriverRequest[] writes = [.. Enumerable.Range(0, 16).Select(i => guest.Queue(0).Write((ulong)i, data.AsSpan(i * 512, 512).ToArray()))];
        guest.Kick(0);
        while (!reached.IsSet) guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(1));
        int served = 0;
        for (int i = 0; i < 100; i++)
        {
            guest.Reactor.Remote.Post(_ => served++);
            guest.Reactor.RunOnce(TimeSpan.Zero);
        }
        Assert.Equal(100, served);
        Assert.DoesNotContain(writes, write => write.IsUsed);
        go.Set();
        guest.RunUntil(() => writes.All(write => write.IsUsed));
        Assert.True(wasReleased, "the test's own thread waited for the storage");
        Assert.All(writes, write => Assert.Equal(BlockStatus.Ok, write.Status()));
        Assert.Equal(data, _memory.Content[..data.Length]);
        _storage.Fault = null;
        guest.Dispose();
        Assert.True(SpinWait.SpinUntil(() => !HasWriter(), TimeSpan.FromSeconds(30)), "the thread for writes is left");
    }

    /// <summary>A write that is tried again goes to the thread as soon as there is one, outside of a turn.</summary>
    [Fact]
    public void A_write_that_is_tried_again_when_there_is_a_thread_for_it_is_made()
    {
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring);
        int left = 1;
        _storage.Fault = request =>
        {
            if (request != FuseRequest.Write || left-- <= 0) return Errno.None;
            Assert.True(SpinWait.SpinUntil(HasWriter, TimeSpan.FromSeconds(30)), "no thread for writes");
            // It has its name a moment before the engine has it.
            Thread.Sleep(50);
            return Errno.Again;
        };
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Out));
        Assert.True(left <= 0, "the storage was not asked again");
    }

    private static bool HasWriter() => Directory.GetDirectories("/proc/self/task").Any(task => NameOf(task) == "buffered writes");

    private static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm")).Trim();
        }
        catch (IOException)
        {
            // It has ended.
            return "";
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void Storage_that_puts_off_for_ever_is_an_error_in_the_end(BlockEngineKind engine, bool direct)
    {
        using SimulatedGuest guest = Guest(engine, direct);
        _storage.Fault = request => request == FuseRequest.Fsync ? Errno.Again : Errno.None;
        Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
        Assert.Equal(BlockErrors.AttemptsMax, _storage.Count(FuseRequest.Fsync));
        _storage.Fault = null;
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_flush_is_answered_after_the_storage_has_synced(BlockEngineKind engine, bool direct)
    {
        using SimulatedGuest guest = Guest(engine, direct);
        Ask(guest, BlockRequestType.Out);
        Assert.Equal(8 * 512, _memory.Dirty);
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Flush));
        Assert.Equal((0, 1), (_memory.Dirty, _storage.Count(FuseRequest.Fsync)));
    }

    public static TheoryData<BlockEngineKind, bool, Errno> FailedSyncs => new(Engines.SelectMany(engine =>
        (IEnumerable<(BlockEngineKind, bool, Errno)>)[(engine.Data.Item1, engine.Data.Item2, Errno.InputOutput),
            (engine.Data.Item1, engine.Data.Item2, Errno.TimedOut)]));

    [Theory, MemberData(nameof(FailedSyncs))]
    public void A_flush_that_failed_once_fails_from_then_on(BlockEngineKind engine, bool direct, Errno error)
    {
        using SimulatedGuest guest = Guest(engine, direct);
        Ask(guest, BlockRequestType.Out);
        _storage.Fault = request => request == FuseRequest.Fsync ? error : Errno.None;
        Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
        _storage.Fault = null;
        for (int i = 0; i < 3; i++) Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
    }

    [Theory, MemberData(nameof(Engines))]
    public void Without_a_cache_nothing_is_answered_before_the_storage_has_synced_it(BlockEngineKind engine, bool direct)
    {
        using SimulatedGuest guest = Guest(engine, direct);
        guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        foreach (BlockRequestType type in (BlockRequestType[])[BlockRequestType.Out, BlockRequestType.Discard, BlockRequestType.WriteZeroes])
        {
            Assert.Equal(BlockStatus.Ok, Ask(guest, type));
            Assert.Equal(0, _memory.Dirty);
        }
        Assert.Equal((1, 2, 2), (_storage.Count(FuseRequest.Write), _storage.Count(FuseRequest.Fallocate), _storage.Count(FuseRequest.Fsync)));
        // A file system without holes and zero ranges: what was written in their place is synced too.
        _storage.Fault = request => request == FuseRequest.Fallocate ? Errno.NotSupported : Errno.None;
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.WriteZeroes));
        Assert.Equal(0, _memory.Dirty);
        _storage.Fault = null;
    }

    [Theory, MemberData(nameof(Engines))]
    public void Zeroes_that_have_to_be_written_are_written_in_pieces_and_keep_to_their_sectors(BlockEngineKind engine, bool direct)
    {
        _storage.Fault = request => request == FuseRequest.Fallocate ? Errno.NotSupported : Errno.None;
        using SimulatedGuest guest = Guest(engine, direct);
        for (ulong sector = 0; sector < DiskBytes / 512; sector += 128) Run(guest, guest.Queue(0).Write(sector, BlockGuest.Pattern(128 * 512)));
        DriverRequest[] zeroes = [.. Enumerable.Range(0, 4).Select(_ => guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 1, (DiskBytes / 512) - 2))];
        DriverRequest read = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        // The other engines work beside each other, in an order of their own.
        if (engine == BlockEngineKind.Synchronous) Assert.False(zeroes.All(request => request.IsUsed), "the read waited for all zeroes");
        guest.RunUntil(() => zeroes.All(request => request.IsUsed));
        Assert.All(zeroes, request => Assert.Equal(BlockStatus.Ok, request.Status()));
        byte[] content = _memory.Content;
        Assert.True(content.AsSpan(512, DiskBytes - 1024).IndexOfAnyExcept((byte)0) < 0, "not all of it is zero");
        Assert.Equal(BlockGuest.Pattern(128 * 512)[..512], content[..512]);
        Assert.Equal(BlockGuest.Pattern(128 * 512)[^512..], content[^512..]);
    }

    private SimulatedGuest Guest(BlockEngineKind engine, bool direct = false) =>
        SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(_storage.Path, engine: engine, direct: direct)), new SimulatedGuestOptions { MemoryBytes = 64 << 20 });

    private static FuseRequest RequestOf(BlockRequestType type) => type switch
    {
        BlockRequestType.In => FuseRequest.Read,
        BlockRequestType.Out => FuseRequest.Write,
        BlockRequestType.Flush => FuseRequest.Fsync,
        _ => FuseRequest.Fallocate,
    };

    private static BlockStatus Ask(SimulatedGuest guest, BlockRequestType type) => Run(guest, type switch
    {
        BlockRequestType.In => guest.Queue(0).Read(0, 8),
        BlockRequestType.Out => guest.Queue(0).Write(0, BlockGuest.Pattern(8 * 512)),
        BlockRequestType.Flush => guest.Queue(0).Ask(type),
        _ => guest.Queue(0).Segment(type, 0, 8),
    });

    private static BlockStatus Run(SimulatedGuest guest, DriverRequest request)
    {
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request.Status();
    }
}
