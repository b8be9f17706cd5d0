using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Events.Tests.Rings;

public sealed class UpdateFileTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    private static async ReactorTask<byte> FirstByte(RingTable table, RingFile file)
    {
        BufferResult read = await table.Ring.Read(file, table.Pool.Rent(512), 0);
        byte first = read.Buffer.Bytes[0];
        read.Buffer.Release();
        return first;
    }

    private static int Links(string path) => Directory.EnumerateFiles("/proc/self/fd").Count(fd => new FileInfo(fd).LinkTarget == path);

    [Theory, MemberData(nameof(Engines))]
    public void Another_descriptor_takes_the_place_and_the_old_one_is_let_go(RingEngine engine)
    {
        using RingTable table = new(engine);
        string oldPath = table.NewFile([1]);
        string newPath = table.NewFile([2]);
        table.Run(async ring =>
        {
            OwnedFd old = RingTable.Open(oldPath);
            using RingFile file = ring.Register(old);
            old.Dispose();
            Assert.Equal(1, await FirstByte(table, file));
            OwnedFd replacement = RingTable.Open(newPath);
            RingOperation<RingResult> updating = ring.UpdateFile(file, replacement);
            replacement.Dispose();
            Assert.Equal(1, (await updating).Value);
            Assert.Same(replacement, file.Fd);
            Assert.Equal(2, await FirstByte(table, file));
            Assert.Equal((0, 1), (Links(oldPath), Links(newPath)));
        });
        Assert.Equal(0, Links(newPath));
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_a_chain_has_behind_an_update_goes_to_the_new_descriptor(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd first = RingTable.Open(table.NewFile([1]));
        using OwnedFd second = RingTable.Open(table.NewFile([2]));
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(first);
            RingOperation<BufferResult> before;
            RingOperation<RingResult> updating;
            RingOperation<BufferResult> after;
            using (ring.Chain())
            {
                before = ring.Read(file, table.Pool.Rent(512), 0, count: 1);
                updating = ring.UpdateFile(file, second);
                after = ring.Read(file, table.Pool.Rent(512), 0, count: 1);
            }
            SlabBuffer old = (await before).Buffer;
            (await updating).ThrowIfFailed("update");
            SlabBuffer fresh = (await after).Buffer;
            Assert.Equal((1, 2), (old.Bytes[0], fresh.Bytes[0]));
            old.Release();
            fresh.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_in_flight_keeps_the_old_descriptor_open(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        using OwnedFd replacement = RingTable.Open(table.NewFile([2]));
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(readEnd);
            RingOperation<BufferResult> reading = ring.Read(file, table.Pool.Rent(512));
            await ReactorTask.Yield();
            (await ring.UpdateFile(file, replacement)).ThrowIfFailed("update");
            readEnd.Dispose();
            Assert.Equal(2, await FirstByte(table, file));
            writeEnd.Write([5]);
            BufferResult read = await reading;
            Assert.Equal([5], read.Buffer.Bytes.ToArray());
            read.Buffer.Release();
        });
        Assert.Throws<IOException>(() => writeEnd.Write([6]));
        writeEnd.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_abandoned_update_holds_nothing_for_longer(RingEngine engine)
    {
        using RingTable table = new(engine);
        string oldPath = table.NewFile([1]);
        string newPath = table.NewFile([2]);
        OwnedFd old = RingTable.Open(oldPath);
        OwnedFd replacement = RingTable.Open(newPath);
        RingFile file = table.Ring.Register(old);
        for (int round = 0; round < 20; round++)
        {
            RingOperation<RingResult> updating = table.Ring.UpdateFile(file, round % 2 == 0 ? replacement : old);
            if (round % 3 == 0) table.RunUntil(() => updating.IsCompleted);
            updating.Abandon();
        }
        table.RunUntil(() => table.Ring.InFlight == 0);
        file.Dispose();
        old.Dispose();
        replacement.Dispose();
        Assert.Equal((0, 0), (Links(oldPath), Links(newPath)));
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_cannot_be_updated_is_refused_before_anything_changes_hands(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { FilesMax = 1 });
        using OwnedFd fd = RingTable.Open(table.NewFile());
        using RingFile registered = table.Ring.Register(fd);
        using RingFile beyond = table.Ring.Register(fd);
        Assert.Throws<InvalidOperationException>(() => table.Ring.UpdateFile(beyond, fd));
        OwnedFd closed = RingTable.Open(table.NewFile());
        closed.Dispose();
        Assert.Throws<ObjectDisposedException>(() => table.Ring.UpdateFile(registered, closed));
        registered.Dispose();
        Assert.Throws<ObjectDisposedException>(() => table.Ring.UpdateFile(registered, fd));
        Assert.Equal(0, table.Ring.InFlight);
    }

    [Theory, MemberData(nameof(Engines))]
    public void The_source_of_a_splice_stays_open_until_its_end(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile("spliced"u8);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        table.Run(async ring =>
        {
            using OwnedFd into = new(RingTable.Dup((int)writeEnd.SafeFileHandle.DangerousGetHandle()));
            using RingFile pipe = ring.Register(into);
            OwnedFd fd = RingTable.Open(path);
            RingFile file = ring.Register(fd);
            RingOperation<RingResult> splicing = ring.Splice(file, 0, pipe, IoRing.CurrentPosition, 100);
            file.Dispose();
            fd.Dispose();
            Assert.Equal(7, (await splicing).Value);
            Assert.Equal(0, Links(path));
        });
        writeEnd.Dispose();
        readEnd.Dispose();
    }
}
