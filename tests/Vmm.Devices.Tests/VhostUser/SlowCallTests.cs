using System.Net;
using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Native;
using Vmm.Devices.VhostUser;
using Vmm.Events;
using Vmm.Fuzz;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// Mapping, unmapping and closing take as long as a front-end likes: they are done beside the reactor, and here when the test lets them be done.
/// </summary>
[Trait("Device", "the front-end itself"), Trait("Rings", "any")]
public abstract class SlowCallTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly TemporaryImage _image = new(sectors: 8);
    private readonly MappingBudget _budget = new(1UL << 40);
    private readonly HeldCalls _calls = new();
    private readonly GuestMemory _memory = Eight(0), _other = Eight(1UL << 30);

    public static TheoryData<bool> TableOrRegion => [true, false];

    [Theory, MemberData(nameof(TableOrRegion))]
    public void While_memory_is_mapped_the_reactor_goes_on_and_the_next_message_waits(bool table)
    {
        using ServedDevice served = Serve(_calls);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        SendMemory(frontend, table);
        frontend.Send(VhostUserRequest.GetQueueNum, [], []);
        AwaitCall();
        Assert.True(served.Remote.Invoke(_ => true, Patience));
        Assert.False(frontend.Socket.WaitReadable(50));
        _calls.LetGo();
        Assert.Equal(0UL, BitConverter.ToUInt64(frontend.Receive(table ? VhostUserRequest.SetMemoryTable : VhostUserRequest.AddMemoryRegion)));
        Assert.Equal(1UL, BitConverter.ToUInt64(frontend.Receive(VhostUserRequest.GetQueueNum)));
        Assert.Equal(table ? 8 : 1, _budget.InUse.Mappings);
    }

    [Theory, MemberData(nameof(TableOrRegion))]
    [Trait("Source", "a front-end that leaves in the middle of a request"), Trait("Outcome", "nothing stays mapped")]
    public void A_front_end_that_goes_while_its_memory_is_mapped_leaves_nothing_behind(bool table)
    {
        using ServedDevice served = Serve(_calls);
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served))
        {
            SendMemory(frontend, table);
            AwaitCall();
        }
        // What it hung up with is handled before this returns.
        Assert.True(served.Remote.Invoke(_ => true, Patience));
        Assert.Equal((0ul, 0), _budget.InUse);
        _calls.LetGo();
        HostileFrontEndTests.AssertNextIsServed(served);
        AssertNothingMapped();
        Assert.Equal(1, OpenFds.OfMemory(_memory.Regions[0].File));
    }

    [Fact]
    public void A_server_that_stops_while_memory_is_mapped_waits_for_that()
    {
        ServedDevice served = Serve(_calls);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        SendMemory(frontend, table: true);
        AwaitCall();
        TaskCompletionSource stopped = new();
        served.Remote.Invoke(_ => served.Backend.Stop(stopped.SetResult));
        Assert.False(stopped.Task.Wait(50));
        _calls.LetGo();
        Assert.True(stopped.Task.Wait(Patience));
        Assert.Equal((0ul, 0), _budget.InUse);
        served.Dispose();
    }

    [Fact]
    public void A_reactor_that_is_disposed_while_memory_is_mapped_leaves_nothing_behind()
    {
        int begun = 0;
        string path = Path.Combine(Path.GetTempPath(), $"vmm-ends-{Guid.NewGuid():n}");
        using BlockDevice device = _image.OpenDevice();
        Reactor reactor = new(new ReactorOptions { Poller = OfSuite, HandlerFailurePolicy = HandlerFailurePolicy.StopReactor, OnHandlerFailure = _ => { } });
        Task Slowly(Action call)
        {
            begun++;
            return Task.Run(() =>
            {
                Thread.Sleep(100);
                call();
            });
        }
        using VhostUserBackend backend = new(device, path, reactor, new VhostUserBackendOptions { Mappings = _budget, SlowCalls = Slowly });
        using UnixSocket socket = UnixEndpoint.Connect(path);
        byte[] message = new byte[VhostUserHeader.Bytes + 8 + MessageShape.RegionBytes];
        VhostUserHeader.ForRequest((uint)VhostUserRequest.SetMemoryTable, message.Length - VhostUserHeader.Bytes, needsReply: false).Write(message);
        message[VhostUserHeader.Bytes] = 1;
        VhostUserFrontend.SlotPayload(_memory.Regions[0]).AsSpan(8).CopyTo(message.AsSpan(VhostUserHeader.Bytes + 8));
        socket.Send(message, [_memory.Regions[0].File.Number], out _);
        for (int i = 0; i < 10 && begun == 0; i++) reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(1, begun);
        reactor.Dispose();
        Assert.Equal((0ul, 0), _budget.InUse);
        Assert.Equal(1, OpenFds.OfMemory(_memory.Regions[0].File));
    }

    /// <summary>Its session may have closed all it owns: neither this thread nor the finalizer's, which unmaps what was forgotten, may throw.</summary>
    [Fact]
    public void Memory_of_a_front_end_that_has_ended_is_mapped_and_unmapped_all_the_same()
    {
        EventFd lost = new();
        MappingBudget.Account account = _budget.Open(lost);
        lost.Dispose();
        OwnedFd file = _memory.Regions[0].File.Duplicate();
        Assert.Null(GuestRegion.TryMapForeign(file, _memory.Regions[0].Layout, MemoryFile.Of(file.Number), account, out GuestRegion? region));
        Assert.Equal(1, _budget.InUse.Mappings);
        account.Dispose();
        region!.Dispose();
        Assert.Equal((0ul, 0), _budget.InUse);
    }

    [Fact]
    public void A_table_of_which_one_region_is_refused_maps_none_and_the_one_before_stays()
    {
        using ServedDevice served = Serve();
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        frontend.ShareMemory(_memory);
        using EventFd noMemory = new();
        int[] fds = [.. _other.Regions.Select(region => region.File.Number)];
        fds[^1] = noMemory.Number;
        for (int i = 0; i < 3; i++)
        {
            frontend.Send(VhostUserRequest.SetMemoryTable, Table(_other), fds, needsReply: true);
            Assert.Equal(1UL, BitConverter.ToUInt64(frontend.Receive(VhostUserRequest.SetMemoryTable)));
            Assert.Equal((8ul << 20, 8), _budget.InUse);
        }
        Assert.Equal(1, OpenFds.Of(noMemory));
    }

    [Fact]
    [Trait("Source", "tables of memory without end"), Trait("Outcome", "the last one is mapped")]
    public void Many_tables_in_a_row_leave_the_last_one_mapped()
    {
        using ServedDevice served = Serve();
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served))
        {
            for (int i = 0; i < 200; i++)
            {
                frontend.ShareMemory(i % 2 == 0 ? _memory : _other);
                if (i % 10 == 0) Assert.Equal((8ul << 20, 8), _budget.InUse);
            }
            // Without waiting for an answer, too.
            for (int i = 0; i < 200; i++)
            {
                GuestMemory memory = i % 2 == 0 ? _other : _memory;
                frontend.Send(VhostUserRequest.SetMemoryTable, Table(memory), [.. memory.Regions.Select(region => region.File.Number)]);
            }
            Assert.Equal(1UL, frontend.Ask(VhostUserRequest.GetQueueNum));
            Assert.Equal((8ul << 20, 8), _budget.InUse);
            Assert.Equal(1, OpenFds.OfMemory(_memory.Regions[0].File));
        }
        AssertNothingMapped();
    }

    [Fact]
    [Trait("Source", "logs of changes and of requests in flight without end"), Trait("Outcome", "the last ones are mapped")]
    public void Logs_of_changes_and_of_requests_in_flight_that_are_replaced_are_unmapped()
    {
        using ServedDevice served = Serve();
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using (VhostUserInflight inflight = frontend.GetInflight(1, 16))
        {
            for (int i = 0; i < 20; i++)
            {
                frontend.ShareInflight(inflight);
                byte[] log = [.. BitConverter.GetBytes(4096UL), .. new byte[8]];
                frontend.Send(VhostUserRequest.SetLogBase, log, [_memory.Regions[0].File.Number]);
                frontend.Receive(VhostUserRequest.SetLogBase);
                Assert.Equal(1UL, frontend.Ask(VhostUserRequest.GetQueueNum));
                Assert.Equal(2, _budget.InUse.Mappings);
            }
        }
        Assert.Equal(1, OpenFds.OfMemory(_memory.Regions[0].File));
    }

    /// <summary>A socket that lingers (SO_LINGER, socket(7)) is closed when its peer has read everything: here only when the peer goes.</summary>
    [Theory]
    [InlineData(nameof(VhostUserRequest.SetVringKick))]
    [InlineData(nameof(VhostUserRequest.SetLogFd))]
    [Trait("Source", "a socket that lingers (SO_LINGER) as kick or log"), Trait("Outcome", "holds its sender alone up")]
    public void A_descriptor_whose_close_waits_for_another_process_holds_only_its_sender_up(string name)
    {
        VhostUserRequest request = Enum.Parse<VhostUserRequest>(name);
        using ServedDevice served = Serve();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Assert.Equal(Errno.None, StreamSocket.Connect(listener.LocalEndpoint, Patience, out OwnedFd? connected));
        using OwnedFd lingers = connected!;
        using Socket peer = listener.AcceptSocket();
        using (Socket view = new(new SafeSocketHandle(lingers.Number, ownsHandle: false)) { LingerState = new LingerOption(true, 20), Blocking = false })
        {
            while (view.Send(new byte[1 << 16], 0, 1 << 16, SocketFlags.None, out SocketError error) > 0 && error == SocketError.Success)
            {
            }
        }
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        // The back-end's close is to be the last.
        TaskCompletionSource closed = new();
        served.Remote.Post(_ => closed.Task.Wait());
        frontend.Send(request, request == VhostUserRequest.SetLogFd ? [] : VhostUserFrontend.RingWord(0), [lingers.Number], needsReply: true);
        lingers.Dispose();
        closed.SetResult();
        for (int i = 0; i < 20; i++)
        {
            Thread.Sleep(10);
            Assert.True(served.Remote.Invoke(_ => true, TimeSpan.FromSeconds(5)));
        }
        Assert.False(frontend.Socket.WaitReadable(0));
        peer.LingerState = new LingerOption(true, 0);
        peer.Dispose();
        frontend.Receive(request);
    }

    /// <summary>The close of a file is a question to its file system (FUSE_FLUSH), which a process of the front-end's answers when it likes.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    [Trait("Source", "memory in a FUSE file whose process stands still"), Trait("Outcome", "refused; holds its sender alone up")]
    public void Memory_in_a_file_system_that_stands_still_is_refused_and_holds_only_its_sender_up(bool table)
    {
        using FaultyFileSystem storage = new(new MemoryStorage(1 << 20));
        using ManualResetEventSlim answers = new(), wasAsked = new();
        using ServedDevice served = new(_image.OpenDevice(), allowUnsealed: true, mappings: _budget);
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served))
        using (SafeFileHandle file = File.OpenHandle(storage.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            byte[] slot = VhostUserFrontend.SlotPayload(_memory.Regions[0]);
            VhostUserRequest request = table ? VhostUserRequest.SetMemoryTable : VhostUserRequest.AddMemoryRegion;
            storage.Fault = _ =>
            {
                wasAsked.Set();
                answers.Wait();
                return Errno.None;
            };
            try
            {
                frontend.Send(request, table ? [.. BitConverter.GetBytes(1UL), .. slot[8..]] : slot, [(int)file.DangerousGetHandle()], needsReply: true);
                Assert.True(wasAsked.Wait(Patience), "the file system was asked nothing");
                for (int i = 0; i < 20; i++)
                {
                    Thread.Sleep(10);
                    Assert.True(served.Remote.Invoke(_ => true, TimeSpan.FromSeconds(5)));
                }
                // The file is in its hands until it is closed: no other message is looked at before.
                frontend.Send(VhostUserRequest.GetQueueNum, [], []);
            }
            finally
            {
                answers.Set();
            }
            Assert.Equal(1UL, BitConverter.ToUInt64(frontend.Receive(request)));
        }
        HostileFrontEndTests.AssertNextIsServed(served);
        AssertNothingMapped();
    }

    public void Dispose()
    {
        _image.Dispose();
        _memory.Dispose();
        _other.Dispose();
        GC.SuppressFinalize(this);
    }

    private static GuestMemory Eight(ulong start)
    {
        GuestMemory memory = new();
        for (ulong i = 0; i < 8; i++) Assert.True(memory.TryAdd(GuestRegion.Create(start + (i << 20), 1 << 20), out _));
        return memory;
    }

    private ServedDevice Serve(HeldCalls? calls = null) => new(_image.OpenDevice(), mappings: _budget, slowCalls: calls is null ? null : calls.Add);

    private void SendMemory(VhostUserFrontend frontend, bool table)
    {
        if (table)
        {
            frontend.Send(VhostUserRequest.SetMemoryTable, Table(_memory), [.. _memory.Regions.Select(region => region.File.Number)], needsReply: true);
            return;
        }
        frontend.Send(VhostUserRequest.AddMemoryRegion, VhostUserFrontend.SlotPayload(_memory.Regions[0]), [_memory.Regions[0].File.Number], needsReply: true);
    }

    private static byte[] Table(GuestMemory memory) =>
        [.. BitConverter.GetBytes((ulong)memory.Regions.Count), .. memory.Regions.SelectMany(region => VhostUserFrontend.SlotPayload(region)[8..])];

    private void AwaitCall() => Assert.True(SpinWait.SpinUntil(() => _calls.Count == 1, Patience), "nothing is done beside the reactor");

    private void AssertNothingMapped() => Assert.True(SpinWait.SpinUntil(() => _budget.InUse == (0, 0), Patience), $"{_budget.InUse} are still mapped");
}

[Collection(Alone.Name)]
public sealed class SlowCallOnEpollTests() : SlowCallTests(PollerKind.Epoll);

[Collection(Alone.Name)]
public sealed class SlowCallOnIoRingTests() : SlowCallTests(PollerKind.IoRing);
