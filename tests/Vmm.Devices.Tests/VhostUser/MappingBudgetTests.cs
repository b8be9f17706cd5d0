using System.Net.Sockets;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Address space, mappings and descriptors are the process's: one front-end gets a part of them.</summary>
[Trait("Device", "the front-end itself"), Trait("Rings", "any")]
public abstract class MappingBudgetTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private const ulong TiB = 1UL << 40;

    private readonly TemporaryImage _badImage = new(sectors: 8), _goodImage = new(sectors: 8);
    private readonly MappingBudget _budget = new(4 * TiB);

    [Fact]
    public void One_front_end_gets_half_of_what_the_others_leave()
    {
        MappingBudget budget = new(8192, mappingsMax: 8);
        using EventFd lost = new();
        MappingBudget.Account first = budget.Open(lost), second = budget.Open(lost), third = budget.Open(lost);
        Assert.Null(first.TryCharge(4096));
        Assert.NotNull(first.TryCharge(1));
        Assert.Null(second.TryCharge(2048));
        Assert.NotNull(second.TryCharge(1));
        Assert.Null(third.TryCharge(1024));
        Assert.Equal((7168ul, 3), budget.InUse);
        first.Release(4096);
        Assert.Null(third.TryCharge(1024));
        Assert.NotNull(third.TryCharge(ulong.MaxValue));
        foreach (ulong bytes in (ulong[])[1024, 1024]) third.Release(bytes);
        second.Release(2048);
        Assert.Equal((0ul, 0), budget.InUse);
        for (int i = 0; i < 4; i++) Assert.Null(first.TryCharge(1));
        Assert.NotNull(first.TryCharge(1));
        Assert.Null(second.TryCharge(1));
        Assert.Null(second.TryCharge(1));
        Assert.NotNull(second.TryCharge(1));
    }

    [Fact]
    [Trait("Source", "terabytes of sealed sparse memory in many regions"), Trait("Outcome", "refused beyond its share; its neighbour is served")]
    public void A_front_end_that_maps_all_it_can_leaves_its_neighbours_their_memory_and_gives_everything_back()
    {
        using ServedDevice served = new(_badImage.OpenDevice(), mappings: _budget), neighbour = new(_goodImage.OpenDevice(), mappings: _budget);
        using GuestRegion sparse = GuestRegion.Create(0, GuestRegion.LengthMax);
        using (VhostUserFrontend bad = HostileFrontEndTests.NegotiatedWith(served))
        {
            const ulong Piece = 1UL << 34;
            void Add(ulong at) => bad.Do(VhostUserRequest.AddMemoryRegion,
                HostileFrontEndTests.Slot(new RegionDescription(at, Piece, at, (1UL << 46) + at)), [sparse.File.Number]);
            for (ulong at = 0; at < 2 * TiB; at += Piece) Add(at);
            Assert.Throws<VhostUserException>(() => Add(2 * TiB));
            HostileFrontEndTests.AssertNextIsServed(neighbour);
            // The log is memory too.
            byte[] log = [.. BitConverter.GetBytes(64UL << 20), .. new byte[8]];
            HostileFrontEndTests.AssertRefused(bad, VhostUserRequest.SetLogBase, log, [sparse.File.Number]);
        }
        HostileFrontEndTests.AssertNextIsServed(served);
        Assert.True(SpinWait.SpinUntil(() => _budget.InUse == (0, 0), TimeSpan.FromSeconds(30)), $"{_budget.InUse} are still mapped");
    }

    [Fact]
    [Trait("Source", "address space taken by logs of requests in flight"), Trait("Outcome", "refused beyond its share")]
    public void In_flight_logs_are_charged_too_and_refused_without_a_descriptor_or_a_byte_left_behind()
    {
        using VhostUserInflight inflight = Inflight();
        // Whole pages are mapped.
        ulong bytes = (inflight.Geometry.BytesToMap(packed: false) + 4095) / 4096 * 4096;
        MappingBudget scarce = new(2 * bytes - 1);
        using ServedDevice served = new(_badImage.OpenDevice(), mappings: scarce), sufficient = new(_goodImage.OpenDevice(), mappings: new MappingBudget(2 * bytes));
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(sufficient)) frontend.ShareInflight(inflight);
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served))
            Assert.Throws<VhostUserException>(() => frontend.ShareInflight(inflight));
        Assert.Equal((0ul, 0), scarce.InUse);
        Assert.Equal(1, OpenFds.OfMemory(inflight.File));
        Assert.Contains(served.Log.Lines, line => line.Contains($"of the {(2 * bytes) - 1} of this process the others leave", StringComparison.Ordinal));

        VhostUserInflight Inflight()
        {
            using ServedDevice maker = new(_badImage.OpenDevice());
            using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(maker);
            return frontend.GetInflight(1, 16);
        }
    }

    [Fact]
    [Trait("Source", "a log of changes longer than any guest needs"), Trait("Outcome", "refused")]
    public void A_log_longer_than_any_guest_needs_is_refused()
    {
        using ServedDevice served = new(_badImage.OpenDevice());
        using GuestRegion sparse = GuestRegion.Create(0, 1UL << 40);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        byte[] log = [.. BitConverter.GetBytes((512UL << 20) + 8), .. new byte[8]];
        HostileFrontEndTests.AssertRefused(frontend, VhostUserRequest.SetLogBase, log, [sparse.File.Number]);
    }

    [Fact]
    [Trait("Source", "descriptors taken by hundreds of regions"), Trait("Outcome", "none is kept")]
    public void A_region_keeps_no_descriptor_and_a_table_sent_again_maps_nothing_anew()
    {
        using ServedDevice served = new(_badImage.OpenDevice(), mappings: _budget);
        using GuestMemory memory = new();
        for (ulong i = 0; i < 8; i++) Assert.True(memory.TryAdd(GuestRegion.Create(i << 20, 1 << 20), out _));
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        int before = OpenFds.Named("memfd:guest-memory");
        for (int i = 0; i < 3; i++)
        {
            frontend.ShareMemory(memory);
            Assert.Equal((8ul << 20, 8), _budget.InUse);
        }
        Assert.Equal(before, OpenFds.Named("memfd:guest-memory"));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [Trait("Source", "a process without a descriptor left"), Trait("Outcome", "accepts again, and says so once")]
    public void A_process_without_descriptors_accepts_again_when_it_has_some_and_says_so_once_even_if_its_log_fails(int free)
    {
        TimeSpan severalTries = TimeSpan.FromMilliseconds(500);
        using ServedDevice served = new(_badImage.OpenDevice());
        HostileFrontEndTests.AssertNextIsServed(served);
        UnixDomainSocketEndPoint path = new(served.SocketPath);
        // The runtime opens an assembly when it first comes to need it: all that happens below happens once before.
        using (Socket early = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)) early.Connect(path);
        Assert.False(SpinWait.SpinUntil(() => served.Log.Attempts > 0, TimeSpan.FromMilliseconds(1)));
        // Both have left: the end of a session gives descriptors back.
        Assert.True(SpinWait.SpinUntil(() => served.Log.Lines.Count(line => line.Contains("left", StringComparison.Ordinal)) == 2, TimeSpan.FromSeconds(30)));
        served.Remote.Invoke(_ => { });
        // Its log cannot be opened either.
        served.Log.Throws = true;
        using (Socket late = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        using (new DescriptorFamine(free))
        {
            late.Connect(path);
            Assert.True(SpinWait.SpinUntil(() => served.Log.Attempts > 0, TimeSpan.FromSeconds(30)), "nothing failed");
            Thread.Sleep(severalTries);
            Assert.Equal(1, served.Log.Attempts);
            // Before there are descriptors: what it says then is said.
            served.Log.Throws = false;
        }
        HostileFrontEndTests.AssertNextIsServed(served);
        Assert.Contains(served.Log.Lines, line => line.Contains("takes connections again", StringComparison.Ordinal));
    }

    public void Dispose()
    {
        _badImage.Dispose();
        _goodImage.Dispose();
        GC.SuppressFinalize(this);
    }
}

[Collection(Alone.Name)]
public sealed class MappingBudgetOnEpollTests() : MappingBudgetTests(PollerKind.Epoll);

[Collection(Alone.Name)]
public sealed class MappingBudgetOnIoRingTests() : MappingBudgetTests(PollerKind.IoRing);
