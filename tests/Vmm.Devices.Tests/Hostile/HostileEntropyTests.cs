using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>More random bytes than anybody has.</summary>
[Trait("Device", "entropy")]
public sealed class HostileEntropyTests
{
    private static readonly int Errors = HostileCase.Repeats(20_000);

    public static TheoryData<HostileCase> Cases => HostileCase.Of("entropy");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "gigabytes of entropy asked for by descriptors that name the same memory over and over")]
    [Trait("Outcome", "filled up to a bound")]
    public void Gigabytes_in_one_ring_cost_the_host_a_few_pages_a_request(HostileCase @case)
    {
        Source source = new();
        using SimulatedGuest guest = @case.Guest(new EntropyDevice("rng0", source));
        using Neighbour neighbour = new(guest);
        SimulatedQueue queue = guest.Queue(0);
        GuestBuffer[] gigabytes = [.. Enumerable.Repeat(new GuestBuffer(32 << 20, 32 << 20), @case.Indirect ? 60 : 32)];
        List<DriverRequest> made = [];
        while (queue.Ring.Free >= (@case.Indirect ? 1 : gigabytes.Length)) made.Add(queue.Add([], gigabytes));
        guest.Kick(0).RunUntilIdle();
        Assert.All(made, each => Assert.Equal((true, (uint)EntropyDevice.RequestBytesMax), (each.IsUsed, each.UsedLength)));
        Assert.Equal(made.Count * EntropyDevice.RequestBytesMax, source.Given);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "error paths that leak what they took: a source that fails without end")]
    [Trait("Outcome", "used length 0; memory stays flat")]
    public void Failures_without_end_allocate_nothing_and_are_logged_once(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new EntropyDevice("rng0", new Source { Failure = Errno.InputOutput }));
        using Neighbour neighbour = new(guest);
        DriverQueue ring = guest.Queue(0).Ring;
        long written = 0;
        Fail(Errors / 10);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Fail(Errors);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Errors);
        Assert.Equal(Errors + Errors / 10, guest.Device.HostFaults);
        Assert.Equal(0, written);

        void Fail(int times)
        {
            for (int i = 0; i < times; i++)
            {
                ring.TryAdd([], [new GuestBuffer(32 << 20, 64)], out _);
                ring.Publish();
                guest.Driver.Kick(0);
                while (!ring.HasUsed) guest.Reactor.RunOnce(TimeSpan.Zero);
                ring.TryCollect(out UsedChain used);
                written += used.Written;
            }
        }
    }

    private sealed class Source : IEntropySource
    {
        internal Errno Failure { get; init; }

        internal long Given { get; private set; }

        public Errno Fill(Span<byte> span)
        {
            Given += span.Length;
            return Failure;
        }
    }
}
