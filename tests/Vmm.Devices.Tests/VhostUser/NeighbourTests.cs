using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Two devices on one reactor: whatever the front-end of one does, that of the other is served.</summary>
[Trait("Device", "the front-end itself"), Trait("Rings", "any")]
public sealed class NeighbourTests : IDisposable
{
    private readonly TemporaryImage _badImage = new(sectors: 8), _goodImage = new(sectors: 8);
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-vhost-").FullName;
    private readonly VhostUserServer _server = new();
    private readonly DiskDriver _good;

    public NeighbourTests()
    {
        _server.Add(_badImage.OpenDevice(), Path.Combine(_directory, "bad"));
        _server.Add(_goodImage.OpenDevice(name: "vdb"), Path.Combine(_directory, "good"));
        _server.Start();
        _good = new DiskDriver(VhostUserFrontend.Connect(Path.Combine(_directory, "good")));
    }

    [Fact]
    [Trait("Source", "a front-end that does not read its replies"), Trait("Outcome", "holds itself alone up")]
    public void A_front_end_that_does_not_read_its_replies_holds_up_no_neighbour()
    {
        using VhostUserFrontend bad = Connect();
        byte[] request = new byte[VhostUserHeader.Bytes];
        VhostUserHeader.ForRequest((uint)VhostUserRequest.GetFeatures, 0, needsReply: false).Write(request);
        int sent = 0;
        Errno errno;
        do
        {
            bad.Socket.Send(request, [], out errno);
            // Until the back-end has stopped reading because it can't write: then this does not drain any more.
            if (errno == Errno.Again && bad.Socket.WaitWritable(200)) errno = Errno.None;
            if (++sent % 1000 == 0) AssertNeighbourIsServed();
        }
        while (errno == Errno.None);
        Assert.Equal(Errno.Again, errno);
        AssertNeighbourIsServed();
    }

    [Fact]
    [Trait("Source", "an eventfd as call that is full and blocking"), Trait("Outcome", "holds no thread")]
    public void A_call_that_is_full_and_made_blocking_holds_up_no_neighbour()
    {
        using DiskDriver bad = new(Connect());
        bad.Ring.Call.Signal(ulong.MaxValue - 1);
        FileFlags.MakeBlocking(bad.Ring.Call.Number);
        for (int i = 0; i < 5; i++)
        {
            bad.SubmitWrite(0);
            bad.WaitUsed();
            AssertNeighbourIsServed();
        }
    }

    [Fact]
    [Trait("Source", "an eventfd as kick that is full and blocking"), Trait("Outcome", "holds no thread")]
    public void A_kick_that_is_full_and_made_blocking_holds_up_no_neighbour()
    {
        using DiskDriver bad = new(Connect());
        bad.Ring.Kick.Signal(ulong.MaxValue - 1);
        FileFlags.MakeBlocking(bad.Ring.Kick.Number);
        AssertNeighbourIsServed();
        Assert.Equal(0u, bad.Frontend.StopRing(0));
        AssertNeighbourIsServed();
    }

    [Fact]
    public void No_call_at_all_is_legal()
    {
        using DiskDriver polling = new(Connect());
        polling.Frontend.Do(VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0, withFd: false), []);
        polling.SubmitWrite(1);
        polling.WaitUsed();
        polling.Frontend.Do(VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0), [polling.Ring.Call.Number]);
        polling.WriteSector(1, 7);
        Assert.Equal(7, _badImage.ReadByte(512));
    }

    [Fact]
    public void A_ring_whose_memory_goes_rests_until_it_is_back()
    {
        using DiskDriver bad = new(Connect());
        bad.WriteSector(0, 1);
        GuestRegion region = bad.Memory.Regions[0];
        bad.Frontend.RemoveRegion(region);
        bad.SubmitWrite(2);
        AssertNeighbourIsServed();
        Assert.False(bad.Queue.HasUsed);
        bad.Frontend.AddRegion(region);
        bad.WaitUsed();
        Assert.Equal(1, _badImage.ReadByte(2 * 512));
        AssertNeighbourIsServed();
    }

    [Fact]
    public void A_table_that_is_replaced_while_a_ring_runs_loses_nothing()
    {
        using DiskDriver disk = new(Connect());
        for (int i = 0; i < 20; i++)
        {
            disk.SubmitWrite((ulong)i % 8);
            disk.Frontend.ShareMemory(disk.Memory);
            disk.WaitUsed();
        }
        disk.WriteSector(1, 7);
        Assert.Equal(7, _badImage.ReadByte(512));
        AssertNeighbourIsServed();
    }

    [Fact]
    [Trait("Source", "a back-end channel that is full"), Trait("Outcome", "holds no thread")]
    public void A_back_end_channel_that_is_not_read_holds_up_no_neighbour()
    {
        using VhostUserFrontend bad = Connect();
        bad.Negotiate(0);
        bad.Do(VhostUserRequest.SetProtocolFeatures, BitConverter.GetBytes(bad.Ask(VhostUserRequest.GetProtocolFeatures)), []);
        (UnixSocket ours, UnixSocket theirs) = UnixSocket.Pair();
        bad.Do(VhostUserRequest.SetBackendRequestFd, [], [theirs.Number]);
        theirs.Dispose();
        using DiskDriver disk = new(bad);
        // A broken ring makes the device ask for a reset, again and again.
        for (int i = 0; i < 3; i++)
        {
            ((SplitDriverQueue)disk.Queue).AvailableIndex += 1000;
            disk.Ring.Kick.Signal();
            AssertNeighbourIsServed();
            uint stopped = bad.StopRing(0);
            disk.Restart(stopped);
        }
        using ReceivedFds none = new();
        byte[] message = new byte[VhostUserHeader.Bytes];
        Assert.True(ours.WaitReadable(30_000));
        Assert.Equal(VhostUserHeader.Bytes, ours.Receive(message, none).Bytes);
        Assert.Equal((uint)VhostUserBackendRequest.ConfigChanged, VhostUserHeader.Read(message).Request);
        ours.Dispose();
        // Nor does one that was closed: what changes now is reported to no front-end.
        for (int i = 0; i < 3; i++)
        {
            AssertNeighbourIsServed();
            ((SplitDriverQueue)disk.Queue).AvailableIndex += 1000;
            disk.Ring.Kick.Signal();
            uint stopped = bad.StopRing(0);
            disk.Restart(stopped);
        }
        AssertNeighbourIsServed();
        Assert.True(bad.IsConnected);
    }

    public void Dispose()
    {
        _good.Dispose();
        _server.Dispose();
        _badImage.Dispose();
        _goodImage.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private VhostUserFrontend Connect() => VhostUserFrontend.Connect(Path.Combine(_directory, "bad"));

    private void AssertNeighbourIsServed() => _good.WriteSector(3, 9);
}
