using System.Net;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>A ring that moves bytes of open files, and does nothing else, whatever is put into it.</summary>
public sealed class RestrictedRingTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void Bytes_go_through_it_as_through_any(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { OnlyTransfers = true });
        string path = table.NewFile();
        using OwnedFd fd = RingTable.Open(path);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            FrozenResult written = await ring.Write(file, table.Frozen("only bytes"u8), 0);
            written.Buffer.Release();
            Assert.Equal(Errno.None, (await ring.Fsync(file)).Error);
            Assert.Equal(Errno.None, (await ring.Fallocate(file, FallocateMode.Allocate, 4096, 4096)).Error);
            BufferResult read = await ring.Read(file, table.Pool.Rent(512), 0);
            Assert.Equal("only bytes"u8.ToArray(), read.Buffer.Bytes[..10].ToArray());
            read.Buffer.Release();
        });
        Assert.Equal(8192, new FileInfo(path).Length);
    }

    [Fact]
    public void The_kernel_refuses_all_else()
    {
        using RingTable table = new(RingEngine.Kernel, options => options with { OnlyTransfers = true });
        (OwnedFd a, OwnedFd b) = RingTable.SocketPair();
        string path = table.NewFile("secret"u8);
        using (a)
        using (b)
        {
            table.Run(async ring =>
            {
                using RingFile socket = ring.Register(a);
                Assert.Equal(Errno.AccessDenied, (await ring.Open(path, 0)).Result.Error);
                Assert.Equal(Errno.AccessDenied, (await ring.Stat(path)).Result.Error);
                Assert.Equal(Errno.AccessDenied, (await ring.Connect(socket, new IPEndPoint(IPAddress.Loopback, 9))).Error);
                Assert.Equal(Errno.AccessDenied, (await ring.Accept(socket)).Result.Error);
                Assert.Equal(Errno.AccessDenied, (await ring.Shutdown(socket, System.Net.Sockets.SocketShutdown.Both)).Error);
            });
        }
    }

    [Fact]
    public void A_reactor_has_one_ring_of_each_sort()
    {
        using Reactor reactor = new();
        IoRing whole = IoRing.Of(reactor), restricted = IoRing.Of(reactor, onlyTransfers: true);
        Assert.NotSame(whole, restricted);
        Assert.Same(whole, IoRing.Of(reactor));
        Assert.Same(restricted, IoRing.Of(reactor, onlyTransfers: true));
    }
}
