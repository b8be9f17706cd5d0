using System.Diagnostics;

namespace Vmm.Devices.Simulation;

// A paused machine: the device stands still, and then goes on as if nothing had been.
public sealed partial class DeviceBattery
{
    /// <summary>
    /// Turns of the reactor between a kick and a pause, at most: requests are then in every state from unseen to answered.
    /// </summary>
    private const int TurnsBeforePauseMax = 6;

    private void GoesOnAfterPauses(SimulatedGuestOptions options)
    {
        PausesInEveryState(options);
        PausesInEveryTurn(options);
        PausesUnderLoad(options with { QueueSizeMax = 16 });
    }

    private void PausesInEveryState(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options with { Start = false });
        (string State, bool IsLive, Action Reach)[] states =
        [
            ("before anything", false, () => { }),
            ("after FEATURES_OK", false, () => guest.Negotiate()),
            ("with queues", false, () => guest.Negotiate().SetUpQueues()),
            ("right after DRIVER_OK", true, () =>
            {
                guest.Negotiate().SetUpQueues();
                guest.Driver.AddStatus(DeviceStatus.DriverOk);
            }),
            ("when live", true, () => guest.Start()),
            ("with requests that were not kicked for", true, () => AddAll(guest.Start())),
            ("with requests in flight", true, () => KickAll(AddAll(guest.Start()))),
            ("with requests taken", true, () => KickAll(AddAll(guest.Start())).RunUntilIdle()),
        ];
        foreach ((string state, bool isLive, Action reach) in states)
        {
            reach();
            for (int i = 0; i < 3; i++) guest.Pause().Resume();
            guest.Pause();
            if (guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset))
                throw new InvalidDataException($"a pause {state}: the device asks for a reset");
            // A machine that is stopped for good is reset while it is paused.
            guest.Reset();
            if (isLive) reach();
            else guest.Start();
            guest.Pause().Resume();
            foreach (BatteryRequest request in requests) request.Provoke?.Invoke(guest.Device);
            guest.RunUntilIdle().Reset().Start();
            Exercise(guest, $"after pauses {state}");
            guest.Reset();
        }
    }

    private void PausesInEveryTurn(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        foreach (BatteryRequest request in requests)
        {
            for (int turns = 0; turns <= TurnsBeforePauseMax; turns++)
            {
                foreach (bool provokeWhilePaused in (bool[])[false, true])
                {
                    DriverRequest made = Add(guest.Queue(request.Queue), request);
                    guest.Kick(request.Queue);
                    for (int i = 0; i < turns; i++) guest.Reactor.RunOnce(TimeSpan.Zero);
                    guest.Pause();
                    bool wasUsed = made.IsUsed;
                    int interrupts = guest.Interrupts;
                    if (provokeWhilePaused) request.Provoke?.Invoke(guest.Device);
                    guest.RunUntilIdle();
                    if (made.IsUsed != wasUsed || guest.Interrupts != interrupts)
                        throw new InvalidDataException("it touched the guest while it was paused");
                    guest.Resume();
                    if (!provokeWhilePaused) request.Provoke?.Invoke(guest.Device);
                    guest.RunUntil(() => made.IsUsed);
                    Look(request, made, $"with a pause {turns} turns after the kick");
                    guest.Queue(request.Queue).Free(made);
                }
            }
        }
    }

    private void PausesUnderLoad(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        foreach (BatteryRequest request in requests)
        {
            SimulatedQueue queue = guest.Queue(request.Queue);
            for (int round = 0; round < RingRounds; round++)
            {
                List<DriverRequest> made = Fill(queue, request);
                guest.Kick(request.Queue);
                foreach (DriverRequest each in made)
                {
                    if (!each.IsUsed) request.Provoke?.Invoke(guest.Device);
                    RunWithPausesUntilUsed(guest, each);
                    Look(request, each, $"round {round} with a pause in every turn");
                    queue.Free(each);
                }
            }
        }
    }

    private static void RunWithPausesUntilUsed(SimulatedGuest guest, DriverRequest request)
    {
        for (long start = Stopwatch.GetTimestamp(); !request.IsUsed;)
        {
            if (Stopwatch.GetElapsedTime(start) > SimulatedGuest.Patience)
                throw new TimeoutException($"{guest.Device.Name} does not get on when it is paused often");
            guest.Reactor.RunOnce(TimeSpan.Zero);
            guest.Pause().Resume();
        }
    }

    private static DriverRequest Add(SimulatedQueue queue, BatteryRequest request) =>
        queue.Add(request.Readable.Length > 0 ? [request.Readable] : [], request.Writable > 0 ? [request.Writable] : []);

    /// <summary>Makes as many requests as the ring has room for.</summary>
    private static List<DriverRequest> Fill(SimulatedQueue queue, BatteryRequest request)
    {
        int buffers = (request.Readable.Length > 0 ? 1 : 0) + (request.Writable > 0 ? 1 : 0);
        List<DriverRequest> made = [];
        while (queue.Ring.Free >= buffers) made.Add(Add(queue, request));
        return made;
    }
}
