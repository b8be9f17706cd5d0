using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A machine is paused while a device is in the middle of something, and goes on as if it had not been.</summary>
public sealed class PauseTests
{
    private const int Transmit = 1;
    private const int Inflate = 0;
    private const int Statistics = 2;

    public static TheoryData<ulong> Rings => [.. DeviceBattery.Rings];

    [Theory, MemberData(nameof(Rings))]
    public void A_console_sends_all_of_a_chain_that_a_pause_interrupted(ulong ring)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        ConsolePort port = new("console", isConsole: true) { KeepBytes = null };
        port.Connect(null, SerialOutput.To(device));
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port), On(ring));
        byte[] sent = BlockGuest.Pattern(1 << 20);
        DriverRequest request = guest.Queue(Transmit).Add([sent]);
        guest.Kick(Transmit).RunUntilIdle();
        MemoryStream got = new();
        guest.RunUntil(() =>
        {
            guest.Pause();
            Take(host, got);
            guest.Resume();
            return got.Length >= sent.Length;
        });
        Assert.Equal(sent, got.ToArray());
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal(1, guest.Device.QueueStatistics[Transmit].Requests);
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_balloon_takes_all_pages_of_a_request_that_a_pause_interrupted(ulong ring)
    {
        const int Pages = 65_536;
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, On(ring) with { MemoryBytes = 512 << 20 });
        uint[] numbers = [.. Enumerable.Range(32_768, Pages).Select(page => (uint)page)];
        DriverRequest request = guest.Queue(Inflate).Add([MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray()]);
        guest.Kick(Inflate);
        guest.RunUntil(() =>
        {
            guest.Pause().Resume();
            return request.IsUsed;
        });
        Assert.Equal(Pages * 4096L, balloon.ReturnedBytes);
    }

    [Theory, MemberData(nameof(Rings))]
    public async Task A_question_for_statistics_that_is_asked_after_a_pause_gets_a_fresh_answer(ulong ring)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, On(ring));
        DriverRequest first = guest.Queue(Statistics).Add([Statistic(4, 1)]);
        guest.Kick(Statistics).RunUntilIdle().Pause();
        Task<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = balloon.ReadStatisticsAsync(TestContext.Current.CancellationToken);
        guest.RunUntilIdle();
        Assert.False(first.IsUsed);
        guest.Resume().RunUntil(() => first.IsUsed);
        Assert.False(answer.IsCompleted, "the answer is what the guest said before it was asked");
        guest.Queue(Statistics).Add([Statistic(4, 2)]);
        guest.Kick(Statistics).RunUntil(() => answer.IsCompleted);
        Assert.Equal(2ul, (await answer)[(BalloonStatistic)4]);
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_frame_that_waits_for_buffers_through_a_pause_is_delivered_whole(ulong ring)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable.Device), On(ring));
        byte[] frame = NetCable.Frame(1000);
        DriverRequest first = guest.Queue(0).Add(writable: [400]);
        guest.Kick(0).RunUntilIdle();
        Assert.True(cable.TrySend(frame));
        guest.RunUntilIdle().Pause().Resume().RunUntilIdle();
        Assert.False(first.IsUsed);
        DriverRequest second = guest.Queue(0).Add(writable: [800]);
        guest.Kick(0).RunUntil(() => second.IsUsed);
        byte[] received = [.. first.Written.AsSpan(12), .. second.Written];
        Assert.Equal(frame, received);
        Assert.Equal(1, ((NetDevice)guest.Device).Statistics.Received);
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_device_does_not_touch_a_guest_that_is_paused(ulong ring)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        ConsolePort port = new("console", isConsole: true) { KeepBytes = null };
        port.Connect(device, null);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port), On(ring));
        DriverRequest request = guest.Queue(0).Add(writable: [16]);
        guest.Kick(0).RunUntilIdle().Pause();
        int interrupts = guest.Interrupts;
        StreamCalls.Write(host.Number, "typed"u8, out _);
        guest.Kick(0).Kick(1).RunUntilIdle();
        Assert.False(request.IsUsed);
        Assert.Equal(interrupts, guest.Interrupts);
        guest.Resume().RunUntil(() => request.IsUsed);
        Assert.Equal("typed", Encoding.ASCII.GetString(request.Written));
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_machine_that_is_stopped_while_it_is_paused_lets_go_of_its_driver(ulong ring)
    {
        EchoDevice device = new();
        using SimulatedGuest guest = SimulatedGuest.For(device, On(ring));
        guest.Queue(1).Add([[1]]);
        guest.Kick(1).RunUntilIdle().Pause();
        guest.Reset();
        Assert.Equal("reset", device.Log[^1]);
        guest.Start();
        DriverRequest request = guest.Queue(0).Add([[1, 2]], [2]);
        guest.Kick(0).RunUntil(() => request.IsUsed);
    }

    private static SimulatedGuestOptions On(ulong ring) =>
        new() { Features = ~(VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors) | ring };

    private static byte[] Statistic(ushort tag, ulong value) => [.. BitConverter.GetBytes(tag), .. BitConverter.GetBytes(value)];

    private static void Take(UnixSocket host, MemoryStream got)
    {
        byte[] buffer = new byte[1 << 16];
        if (StreamCalls.Read(host.Number, buffer, out int length) == Errno.None) got.Write(buffer, 0, length);
    }
}
