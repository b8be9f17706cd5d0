namespace Vmm.Devices.Simulation;

// The checks. Each throws what is wrong as an InvalidDataException, or lets the guest throw its own.
public sealed partial class DeviceBattery
{
    private const int RingRounds = 5;
    private const int NonsenseRounds = 300;

    private void Answers(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Exercise(guest, "once");
        Exercise(guest, "again");
    }

    private void AnswersFullRings(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options with { QueueSizeMax = 16 });
        foreach (BatteryRequest request in requests)
        {
            SimulatedQueue queue = guest.Queue(request.Queue);
            for (int round = 0; round < RingRounds; round++)
            {
                List<DriverRequest> made = Fill(queue, request);
                guest.Kick(request.Queue).RunUntilIdle();
                foreach (DriverRequest each in made)
                {
                    if (!each.IsUsed) request.Provoke?.Invoke(guest.Device);
                    guest.RunUntil(() => each.IsUsed);
                    Look(request, each, $"round {round}");
                    queue.Free(each);
                }
            }
        }
    }

    private void AnswersCutBuffers(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        foreach (BatteryRequest request in requests)
        {
            if (request.IsStream) continue;
            foreach (int cut in Cuts(request.Readable.Length))
                Exercise(guest, request, [request.Readable[..cut], request.Readable[cut..]],
                    [request.Writable], $"readable part cut at {cut}");
            foreach (int cut in Cuts(request.Writable))
                Exercise(guest, request, [request.Readable], [cut, request.Writable - cut], $"writable part cut at {cut}");
        }
    }

    private void AnswersEarlyRequests(SimulatedGuestOptions options)
    {
        foreach (BatteryRequest request in requests)
        {
            using SimulatedGuest guest = Guest(options with { Start = false });
            guest.Kick(request.Queue).RunUntilIdle();
            guest.Negotiate().SetUpQueues();
            DriverRequest made = guest.Queue(request.Queue)
                .Add(request.Readable.Length > 0 ? [request.Readable] : [], request.Writable > 0 ? [request.Writable] : []);
            guest.Kick(request.Queue).RunUntilIdle();
            if (made.IsUsed || guest.Interrupts != 0)
                throw new InvalidDataException("it served a driver that was not ready (virtio 1.2 § 3.1.1)");
            guest.Driver.AddStatus(DeviceStatus.DriverOk);
            guest.RunUntilIdle();
            request.Provoke?.Invoke(guest.Device);
            guest.RunUntil(() => made.IsUsed);
            Look(request, made, "made available before DRIVER_OK");
        }
    }

    private void AnswersWithoutInterrupts(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        for (int i = 0; i < guest.Device.Queues.Count; i++) guest.Queue(i).Ring.DisableInterrupts();
        int before = guest.Interrupts;
        Exercise(guest, "with interrupts disabled");
        // With EVENT_IDX a driver disables interrupts by an index it has passed: one may come when the indexes wrap.
        if (guest.Interrupts - before > 1)
            throw new InvalidDataException($"{guest.Interrupts - before} interrupts for a driver that wants none (virtio 1.2 § 2.7.7)");
    }

    private void SurvivesResets(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options with { Start = false });
        (string State, Action Reach)[] states =
        [
            ("before anything", () => { }),
            ("after ACKNOWLEDGE", () => guest.Driver.AddStatus(DeviceStatus.Acknowledge)),
            ("after FEATURES_OK", () => guest.Negotiate()),
            ("with queues", () => guest.Negotiate().SetUpQueues()),
            ("right after DRIVER_OK", () =>
            {
                guest.Negotiate().SetUpQueues();
                guest.Driver.AddStatus(DeviceStatus.DriverOk);
            }),
            ("when live", () => guest.Start()),
            ("with requests that were not kicked for", () => AddAll(guest.Start())),
            ("with requests in flight", () => KickAll(AddAll(guest.Start()))),
            ("with requests taken", () => KickAll(AddAll(guest.Start())).RunUntilIdle()),
            ("after FAILED", () => guest.Start().Driver.AddStatus(DeviceStatus.Failed)),
        ];
        foreach ((string state, Action reach) in states)
        {
            reach();
            guest.Reset();
            if (guest.IsInterrupted) throw new InvalidDataException($"reset {state}: the interrupt line stayed up (virtio 1.2 § 2.4)");
            guest.Start();
            Exercise(guest, $"after a reset {state}");
            guest.Reset();
        }
    }

    private void SurvivesOtherFeatures(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options with { Start = false });
        // The poorest driver there is: VERSION_1 and nothing else.
        guest.Start(features: 0);
        guest.Reset();
        guest.Start();
        Exercise(guest, "with all its features after a driver that had none");
    }

    private void SurvivesQueueResets(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        if ((guest.Features & VirtioFeatures.RingReset) == 0) return;
        for (int i = 0; i < guest.Device.Queues.Count; i++)
        {
            AddAll(guest, i);
            guest.Kick(i);
            guest.Driver.ResetQueue(i);
            guest.RunUntil(() => !guest.Driver.IsQueueReady(i));
            guest.SetUpQueue(i);
            guest.RunUntilIdle();
            Exercise(guest, $"after the reset of queue {i}");
        }
    }

    private void IgnoresSpuriousKicks(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        int interrupts = guest.Interrupts;
        for (int i = 0; i < 20; i++)
        {
            for (int queue = 0; queue < guest.Device.Queues.Count + 2; queue++) guest.Kick(queue);
            guest.RunUntilIdle();
        }
        if (guest.Interrupts != interrupts) throw new InvalidDataException("it interrupted for nothing (virtio 1.2 § 2.7.7)");
        Exercise(guest, "after kicks for nothing");
    }

    private void SurvivesBrokenRings(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        foreach (BatteryRequest request in requests)
        {
            guest.Queue(request.Queue).Add([new GuestBuffer(ulong.MaxValue - 100, 64)], []);
            guest.Kick(request.Queue).RunUntilIdle();
            request.Provoke?.Invoke(guest.Device);
            guest.RunUntilIdle();
            if (!guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset))
                throw new InvalidDataException(
                    $"a buffer outside of memory in queue {request.Queue}: it did not ask for a reset (virtio 1.2 § 2.1.2)");
            guest.Reset().Start();
            Exercise(guest, "after a broken ring");
        }
    }

    private void SurvivesNonsense(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Random random = new(1);
        for (int round = 0; round < NonsenseRounds; round++)
        {
            int queue = random.Next(guest.Device.Queues.Count);
            DriverRequest made = AddNonsense(guest.Queue(queue), random);
            guest.Kick(queue).RunUntilIdle();
            if (made.IsUsed)
            {
                if (made.UsedLength > made.Content.Length)
                    throw new InvalidDataException($"{made.UsedLength} bytes used of {made.Content.Length}");
                guest.Queue(queue).Free(made);
            }
            if (guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset) || guest.Queue(queue).Ring.Free < 8) guest.Reset().Start();
        }
        guest.Reset().Start();
        Exercise(guest, "after nonsense");
    }

    /// <summary>A request of the device's own with bytes turned over and buffers missing, longer or shorter.</summary>
    private DriverRequest AddNonsense(SimulatedQueue queue, Random random)
    {
        BatteryRequest model = requests[random.Next(requests.Length)];
        byte[] readable = new byte[random.Next(4) == 0 ? random.Next(64) : model.Readable.Length];
        if (random.Next(2) == 0) random.NextBytes(readable);
        else model.Readable.AsSpan(0, Math.Min(readable.Length, model.Readable.Length)).CopyTo(readable);
        for (int i = random.Next(4); i > 0 && readable.Length > 0; i--) readable[random.Next(readable.Length)] = (byte)random.Next(256);
        int writable = random.Next(3) switch { 0 => 0, 1 => model.Writable, _ => random.Next(1, 5000) };
        if (readable.Length == 0 && writable == 0) writable = 1;
        return queue.Add(readable.Length > 0 ? [readable] : [], writable > 0 ? [writable] : []);
    }

    private void SurvivesConfigAccesses(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Random random = new(2);
        byte[] data = new byte[8];
        for (ulong offset = 0; offset < (ulong)guest.Device.Config.Length + 16; offset++)
        {
            for (int width = 1; width <= data.Length; width *= 2)
            {
                guest.Transport.Read(MmioRegister.Config + offset, data.AsSpan(0, width));
                random.NextBytes(data);
                guest.Transport.Write(MmioRegister.Config + offset, data.AsSpan(0, width));
                guest.RunUntilIdle();
            }
        }
        guest.Reset().Start();
    }

    private void Rests(SimulatedGuestOptions options)
    {
        using SimulatedGuest guest = Guest(options);
        Exercise(guest, "once");
        guest.RunUntilIdle();
        long waits = guest.Reactor.Statistics.Events;
        guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(20));
        if (guest.Reactor.Statistics.Events != waits) throw new InvalidDataException("it wakes its reactor with nothing to do");
    }

    private SimulatedGuest AddAll(SimulatedGuest guest)
    {
        for (int i = 0; i < guest.Device.Queues.Count; i++) AddAll(guest, i);
        return guest;
    }

    private void AddAll(SimulatedGuest guest, int queue)
    {
        foreach (BatteryRequest request in requests.Where(request => request.Queue == queue))
            guest.Queue(queue).Add(request.Readable.Length > 0 ? [request.Readable] : [], request.Writable > 0 ? [request.Writable] : []);
    }

    private static SimulatedGuest KickAll(SimulatedGuest guest)
    {
        for (int i = 0; i < guest.Device.Queues.Count; i++) guest.Kick(i);
        return guest;
    }

    private static IEnumerable<int> Cuts(int length) => Enumerable.Range(1, Math.Max(0, length - 1));
}
