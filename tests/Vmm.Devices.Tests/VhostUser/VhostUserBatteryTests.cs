using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Every device passes over vhost-user, on every kind of ring, what its battery asks of it over virtio-mmio.</summary>
public sealed class VhostUserBatteryTests
{
    private const int Rounds = 4;

    private static readonly Dictionary<string, Action<BatteryFrontEnd>> Checks = new()
    {
        ["answers"] = front =>
        {
            front.Start().Exercise();
            front.Exercise();
        },
        ["answers with every ring entry in use, round after round"] = AnswersFullRings,
        ["answers after its front-end left in every state"] = AnswersTheNextFrontEnd,
        ["answers after a reset"] = AnswersAfterResets,
        ["goes on after a pause"] = GoesOnAfterPauses,
        ["goes on after a pause under load"] = GoesOnUnderLoad,
        ["goes on with another back-end"] = GoesOnWithAnother,
        ["answers the next driver, whatever the requests said"] = SurvivesNonsense,
    };

    public static TheoryData<string, string, ulong> Cases
    {
        get
        {
            TheoryData<string, string, ulong> cases = [];
            foreach (string device in DeviceBatteryTests.Devices.Keys)
            {
                foreach (string check in Checks.Keys)
                {
                    foreach (ulong ring in DeviceBattery.Rings) cases.Add(device, check, ring);
                }
            }
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void It(string device, string check, ulong ring)
    {
        using BatteryFrontEnd front = new(DeviceBatteryTests.Devices[device](), ring);
        Checks[check](front);
    }

    private static void AnswersFullRings(BatteryFrontEnd front)
    {
        front.Start();
        foreach (BatteryRequest request in front.Requests)
        {
            for (int round = 0; round < Rounds; round++)
                foreach (DriverRequest each in Fill(front, request)) front.Finish(request, each);
        }
    }

    private static void AnswersTheNextFrontEnd(BatteryFrontEnd front)
    {
        Action[] states =
        [
            () => { },
            front.Negotiate,
            () =>
            {
                front.Negotiate();
                front.Lay();
            },
            () => front.Start(),
            () =>
            {
                front.Start();
                foreach (BatteryRequest request in front.Requests) front.Add(request);
            },
            () =>
            {
                front.Start();
                foreach (BatteryRequest request in front.Requests) front.Add(request);
                front.Settle();
            },
            () => front.Start().Pause(),
        ];
        foreach (Action reach in states)
        {
            reach();
            front.Start().Exercise();
            front.Leave();
        }
    }

    private static void AnswersAfterResets(BatteryFrontEnd front)
    {
        front.Start();
        for (int round = 0; round < Rounds; round++)
        {
            foreach (BatteryRequest request in front.Requests) front.Add(request);
            if (round % 2 == 0) front.Settle();
            front.Connection!.Do(VhostUserRequest.ResetDevice, [], []);
            foreach (VhostUserRing ring in front.LayRings()) front.Connection.StartRing(ring, null);
            front.Exercise();
        }
    }

    private static void GoesOnAfterPauses(BatteryFrontEnd front)
    {
        front.Start().Exercise();
        foreach (BatteryRequest request in front.Requests)
        {
            foreach ((bool isTaken, bool provokedWhilePaused) in (ReadOnlySpan<(bool, bool)>)[(false, false), (true, false), (true, true)])
            {
                DriverRequest made = front.Add(request);
                if (isTaken) front.Settle();
                uint[] positions = front.Pause();
                bool wasUsed = front.IsUsed(request, made);
                if (provokedWhilePaused) front.Provoke(request);
                front.Settle();
                Assert.Equal(wasUsed, front.IsUsed(request, made));
                front.Resume(positions);
                front.Finish(request, made);
            }
        }
        front.Exercise();
    }

    private static void GoesOnUnderLoad(BatteryFrontEnd front)
    {
        front.Start();
        foreach (BatteryRequest request in front.Requests)
        {
            foreach (DriverRequest each in Fill(front, request))
            {
                front.Resume(front.Pause());
                front.Finish(request, each);
            }
        }
    }

    private static void GoesOnWithAnother(BatteryFrontEnd front)
    {
        front.Start().Exercise();
        foreach (BatteryRequest request in front.Requests)
        {
            List<DriverRequest> made = Fill(front, request);
            front.Finish(request, made[0]);
            front.Move(front.Pause());
            foreach (DriverRequest each in made[1..]) front.Finish(request, each);
        }
        front.Exercise();
    }

    private static void SurvivesNonsense(BatteryFrontEnd front)
    {
        Random random = new(185);
        for (int round = 0; round < Rounds; round++)
        {
            front.Start();
            for (int i = 0; i < 100; i++)
            {
                SimulatedQueue queue = front.Queues[random.Next(front.Queues.Length)];
                GuestBuffer[] readable = Buffers(front, queue, random), writable = Buffers(front, queue, random);
                int buffers = readable.Length + writable.Length;
                if (buffers == 0 || queue.Ring.Free < buffers) continue;
                queue.Add(readable, writable);
                front.Rings[queue.Index].Kick.Signal();
                if (random.Next(8) == 0) front.Settle();
            }
            front.Settle();
        }
        front.Start().Exercise();
    }

    /// <summary>Two buffers at most, each of anything, now and then where no memory is or beyond its end.</summary>
    private static GuestBuffer[] Buffers(BatteryFrontEnd front, SimulatedQueue queue, Random random)
    {
        GuestBuffer[] buffers = new GuestBuffer[random.Next(3)];
        for (int i = 0; i < buffers.Length; i++)
        {
            byte[] content = new byte[random.Next(1, 200)];
            random.NextBytes(content);
            // Requests that are almost right get farther than those that are not.
            if (random.Next(2) == 0) front.Requests[random.Next(front.Requests.Count)].Readable.AsSpan().CopyTo(content = new byte[2000]);
            buffers[i] = random.Next(20) switch
            {
                0 => new GuestBuffer((ulong)random.NextInt64(), (uint)random.Next()),
                1 => new GuestBuffer(BatteryFrontEnd.MemoryBytes - 10, (uint)random.Next(1, 100)),
                _ => queue.Place(content),
            };
        }
        return buffers;
    }

    /// <summary>Makes as many requests as the ring takes.</summary>
    private static List<DriverRequest> Fill(BatteryFrontEnd front, BatteryRequest request)
    {
        int buffers = (request.Readable.Length > 0 ? 1 : 0) + (request.Writable > 0 ? 1 : 0);
        List<DriverRequest> made = [];
        while (front.Queues[request.Queue].Ring.Free >= buffers) made.Add(front.Add(request));
        return made;
    }
}
