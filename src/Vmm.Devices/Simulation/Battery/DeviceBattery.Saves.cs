namespace Vmm.Devices.Simulation;

// A machine that is put away: the device is saved and disposed, another one goes on from what was written, with the same driver.
public sealed partial class DeviceBattery
{
    private const int RingRoundsOfSaves = 2;

    private void GoesOnInAnotherProcess(SimulatedGuestOptions options)
    {
        MovesInEveryState(options);
        MovesInEveryTurn(options);
        MovesUnderLoad(options with { QueueSizeMax = 16 });
    }

    private void MovesInEveryState(SimulatedGuestOptions options)
    {
        void SetUp(SimulatedGuest guest) => guest.Negotiate().SetUpQueues();
        void GoLive(SimulatedGuest guest) => guest.Driver.AddStatus(DeviceStatus.DriverOk);
        (string State, Action<SimulatedGuest> Reach, Action<SimulatedGuest> GoOn)[] states =
        [
            ("before anything", _ => { }, guest => guest.Start()),
            ("after ACKNOWLEDGE", guest => guest.Driver.AddStatus(DeviceStatus.Acknowledge), guest => guest.Start()),
            ("after FEATURES_OK", guest => guest.Negotiate(), guest =>
            {
                guest.SetUpQueues();
                GoLive(guest);
            }),
            ("with queues", SetUp, GoLive),
            ("right after DRIVER_OK", guest =>
            {
                SetUp(guest);
                GoLive(guest);
            }, _ => { }),
            ("when live", guest => guest.Start(), _ => { }),
            ("after FAILED", guest => guest.Start().Driver.AddStatus(DeviceStatus.Failed), guest => guest.Reset().Start()),
        ];
        using SimulatedGuest guest = Guest(options with { Start = false });
        foreach ((string state, Action<SimulatedGuest> reach, Action<SimulatedGuest> goOn) in states)
        {
            reach(guest);
            guest.Pause().Resume();
            DeviceStatus status = guest.Driver.Status;
            for (int i = 0; i < 2; i++) guest.GoOnIn(make);
            if (guest.Driver.Status != status)
                throw new InvalidDataException($"saved {state}: the status was {status}, and is {guest.Driver.Status}");
            goOn(guest);
            Exercise(guest, $"in another process, saved {state}");
            guest.Reset();
        }
    }

    private void MovesInEveryTurn(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Exercise(guest, "before");
        foreach (BatteryRequest request in requests)
        {
            for (int turns = 0; turns <= TurnsBeforePauseMax; turns++)
            {
                foreach (bool isKicked in (bool[])[false, true])
                {
                    long served = guest.Served;
                    DriverRequest made = Add(guest.Queue(request.Queue), request);
                    if (isKicked) guest.Kick(request.Queue);
                    for (int i = 0; i < turns; i++) guest.Reactor.RunOnce(TimeSpan.Zero);
                    guest.GoOnIn(make);
                    // No kick comes again: the driver has made its request.
                    guest.RunUntilIdle();
                    if (!made.IsUsed) request.Provoke?.Invoke(guest.Device);
                    guest.RunUntil(() => made.IsUsed);
                    Look(request, made, $"in another process, saved {turns} turns after the request");
                    guest.Queue(request.Queue).Free(made);
                    ThrowUnlessServed(guest, served, 1);
                }
            }
        }
        Exercise(guest, "after many processes");
    }

    private void MovesUnderLoad(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Exercise(guest, "before");
        foreach (BatteryRequest request in requests)
        {
            SimulatedQueue queue = guest.Queue(request.Queue);
            for (int round = 0; round < RingRoundsOfSaves; round++)
            {
                long served = guest.Served;
                List<DriverRequest> made = Fill(queue, request);
                guest.Kick(request.Queue);
                foreach (DriverRequest each in made)
                {
                    guest.Reactor.RunOnce(TimeSpan.Zero);
                    guest.GoOnIn(make);
                    if (!each.IsUsed) request.Provoke?.Invoke(guest.Device);
                    guest.RunUntil(() => each.IsUsed);
                    Look(request, each, $"round {round} with another process for every request");
                }
                ThrowUnlessServed(guest, served, made.Count);
                foreach (DriverRequest each in made) queue.Free(each);
            }
        }
    }

    private static void ThrowUnlessServed(SimulatedGuest guest, long before, int made)
    {
        if (guest.Served - before != made)
            throw new InvalidDataException($"{made} requests were made, and {guest.Served - before} given back: one was lost or repeated");
    }
}
