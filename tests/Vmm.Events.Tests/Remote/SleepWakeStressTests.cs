using System.Diagnostics;
using System.Globalization;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>
/// Producers race the reactor on the edge between awake and asleep, from a seed. A lost wake-up is a hang; a watchdog turns it into a
/// failure
/// that shows the state. VMM_STRESS_SECONDS sets how long, VMM_SEED replays.
/// </summary>
public abstract class SleepWakeStressTests(ITestOutputHelper output) : ReactorSuite
{
    private const int Producers = 4;
    private static readonly TimeSpan HangAfter = TimeSpan.FromSeconds(20);

    private readonly long[] _sent = new long[Producers];
    private readonly long[] _heard = new long[Producers];
    private long _events;

    [Fact]
    public void No_wake_up_is_lost_between_announcing_sleep_and_sleeping()
    {
        int seed = TestSeed.Take();
        TimeSpan length = TimeSpan.FromSeconds(Number("VMM_STRESS_SECONDS") ?? 2);

        using RunningReactor running = new(Options);
        EventFd kick = new();
        running.Remote.Post(
            reactor => Interest.Kick.WithFd(kick).WithHandler(_ => Volatile.Write(ref _events, _events + 1)).RegisterInto(reactor));
        Stopwatch clock = Stopwatch.StartNew();
        string?[] hangs = new string?[Producers];
        Thread[] threads = [.. Enumerable.Range(0, Producers).Select(i => new Thread(
            () => hangs[i] = Produce(i, new Random(seed + i), running, kick, () => clock.Elapsed < length)))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) Assert.True(thread.Join(length + 2 * HangAfter), "a producer hangs");

        Assert.All(hangs, hang => Assert.True(hang is null, $"VMM_SEED={seed}: {hang}"));
        Assert.Equal(_sent, _heard);
        output.WriteLine($"{_sent.Sum()} rings, {running.Remote.Describe()}");
    }

    /// <summary>Rings, then waits until the ring was heard, so that the reactor falls asleep between rings as often as can be.</summary>
    private string? Produce(int i, Random random, RunningReactor running, EventFd kick, Func<bool> goOn)
    {
        Doorbell doorbell = running.Remote.CreateDoorbell(_ => Volatile.Write(ref _heard[i], Volatile.Read(ref _sent[i])));
        while (goOn())
        {
            for (int spin = random.Next(200); spin > 0; spin--) Thread.SpinWait(1);
            Volatile.Write(ref _sent[i], _sent[i] + 1);
            switch (random.Next(4))
            {
                case 0:
                    kick.Signal();
                    doorbell.Ring();
                    break;
                case 1:
                    doorbell.Ring();
                    kick.Signal();
                    break;
                default:
                    doorbell.Ring();
                    break;
            }
            long start = Stopwatch.GetTimestamp();
            while (Volatile.Read(ref _heard[i]) != _sent[i])
            {
                if (random.Next(8) == 0) Thread.Yield();
                if (Stopwatch.GetElapsedTime(start) > HangAfter)
                    return $"producer {i} sent {_sent[i]}, heard {_heard[i]}, events {Volatile.Read(ref _events)}: {running.Remote.Describe()}";
            }
        }
        return null;
    }

    private static int? Number(string variable) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out int value) ? value : null;
}

public sealed class SleepWakeStressOnEpollTests(ITestOutputHelper output) : SleepWakeStressTests(output);

public sealed class SleepWakeStressOnIoRingTests(ITestOutputHelper output) : SleepWakeStressTests(output)
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
