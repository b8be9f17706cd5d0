using System.Numerics;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class EntropyDeviceTests
{
    [Fact]
    public void A_request_cut_into_two_buffers_is_filled_across_both()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EntropyDevice("rng0", new CountingSource()));
        DriverRequest request = guest.Queue(0).Add(writable: [16, 4000]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(4016u, request.UsedLength);
        Assert.Equal(Enumerable.Range(0, 4016).Select(i => (byte)i), request.Written);
        Assert.Equal(1, guest.Interrupts);
    }

    [Fact]
    public void A_request_of_a_gigabyte_gets_no_more_than_the_bound()
    {
        CountingSource source = new();
        using SimulatedGuest guest = SimulatedGuest.For(new EntropyDevice("rng0", source));
        GuestBuffer same = guest.Queue(0).Place(new byte[1 << 20]);
        DriverRequest request = guest.Queue(0).Add([], [.. Enumerable.Repeat(same, 60)]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((uint)EntropyDevice.RequestBytesMax, request.UsedLength);
        Assert.Equal(EntropyDevice.RequestBytesMax, source.Given);
    }

    [Fact]
    public void A_request_with_nothing_to_fill_is_the_drivers_fault_5_4_6()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EntropyDevice("rng0"));
        DriverRequest request = guest.Queue(0).Add([[1]]);
        guest.Kick(0).RunUntilIdle();
        Assert.True(request.IsUsed);
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Fact]
    public void A_source_that_fails_gives_nothing_and_is_told()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EntropyDevice("rng0", new CountingSource { Failure = Errno.InputOutput }));
        DriverRequest request = guest.Queue(0).Add(writable: [64]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal((true, 0u, 1L), (request.IsUsed, request.UsedLength, guest.Device.HostFaults));
    }

    [Fact]
    public void The_kernels_bytes_pass_a_monobit_and_a_histogram_check()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EntropyDevice("rng0"));
        long ones = 0;
        int[] histogram = new int[256];
        const int Requests = 64;
        for (int i = 0; i < Requests; i++)
        {
            DriverRequest request = guest.Queue(0).Add(writable: [EntropyDevice.RequestBytesMax]);
            guest.Kick(0).RunUntilIdle();
            foreach (byte b in request.Written)
            {
                ones += BitOperations.PopCount(b);
                histogram[b]++;
            }
        }
        const double Bytes = Requests * EntropyDevice.RequestBytesMax;
        // Eight standard deviations: true randomness fails once in 10^15 runs.
        Assert.InRange(ones, (Bytes * 4) - (8 * Math.Sqrt(Bytes * 2)), (Bytes * 4) + (8 * Math.Sqrt(Bytes * 2)));
        Assert.All(histogram, count => Assert.InRange(count, (Bytes / 256) - (8 * Math.Sqrt(Bytes / 256)), (Bytes / 256) + (8 * Math.Sqrt(Bytes / 256))));
    }

    /// <summary>0, 1, 2 … so that a test sees what went where.</summary>
    private sealed class CountingSource : IEntropySource
    {
        internal Errno Failure { get; init; }

        internal int Given { get; private set; }

        public Errno Fill(Span<byte> span)
        {
            foreach (ref byte b in span) b = (byte)Given++;
            return Failure;
        }
    }
}
