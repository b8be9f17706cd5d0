using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device of the battery behind a socket, and the driver of all its queues.</summary>
internal sealed class BatteryFrontEnd : IDisposable
{
    internal const ushort RingSize = 16;
    internal const ulong MemoryBytes = 64 << 20;

    private const ulong LogAll = 1UL << 26;
    private const ulong RingFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly DeviceBattery _battery;
    private readonly ulong _wanted;
    private readonly List<IDisposable> _rings = [];
    private ServedDevice _served;
    private GuestAllocator? _allocator;

    internal BatteryFrontEnd(DeviceBattery battery, ulong ring)
    {
        _battery = battery;
        _wanted = (~RingFeatures | ring) & ~LogAll;
        _served = new ServedDevice(battery.Make());
    }

    internal IReadOnlyList<BatteryRequest> Requests => _battery.Requests;

    internal GuestMemory? Memory { get; private set; }

    internal VhostUserFrontend? Connection { get; private set; }

    internal SimulatedQueue[] Queues { get; private set; } = [];

    internal VhostUserRing[] Rings { get; private set; } = [];

    /// <summary>A driver that is new: memory and rings are fresh.</summary>
    internal BatteryFrontEnd Start()
    {
        Leave();
        Negotiate();
        foreach (VhostUserRing ring in Lay()) Connection!.StartRing(ring, null);
        return this;
    }

    internal void Negotiate()
    {
        Connection = _served.Connect();
        Connection.Negotiate(_wanted);
    }

    /// <summary>Shares memory and lays rings out in it; none runs yet.</summary>
    internal VhostUserRing[] Lay()
    {
        Memory = GuestMemory.Create(MemoryBytes);
        _allocator = new GuestAllocator(0, MemoryBytes);
        Connection!.ShareMemory(Memory);
        return LayRings();
    }

    internal VhostUserRing[] LayRings()
    {
        Queues = [.. _served.Device.Queues.Select((_, index) => new SimulatedQueue(
            index, Memory!, _allocator!, DriverQueue.Create(Memory!, _allocator!, RingSize, Connection!.Features)))];
        Rings = [.. Queues.Select(queue => new VhostUserRing(queue.Index, queue.Ring))];
        _rings.AddRange(Rings);
        _rings.AddRange(Queues);
        return Rings;
    }

    internal DriverRequest Add(BatteryRequest request)
    {
        DriverRequest made = Queues[request.Queue].Add(
            request.Readable.Length > 0 ? [request.Readable] : [], request.Writable > 0 ? [request.Writable] : []);
        Rings[request.Queue].Kick.Signal();
        return made;
    }

    /// <summary>Makes every request once, and looks at the answers.</summary>
    internal void Exercise()
    {
        foreach (BatteryRequest request in Requests) Finish(request, Add(request));
    }

    /// <summary>Has the device answer, and looks at the answer.</summary>
    internal void Finish(BatteryRequest request, DriverRequest made)
    {
        Settle();
        if (!IsUsed(request, made)) Provoke(request);
        Assert.True(SpinWait.SpinUntil(() => IsUsed(request, made), Patience), $"queue {request.Queue} does not answer");
        Assert.Null(request.Complaint(made.Content, made.UsedLength));
        Queues[request.Queue].Free(made);
    }

    internal bool IsUsed(BatteryRequest request, DriverRequest made)
    {
        Queues[request.Queue].Collect();
        return made.IsUsed;
    }

    internal void Provoke(BatteryRequest request)
    {
        if (request.Provoke is { } provoke) OnReactor(() => provoke(_served.Device));
    }

    /// <summary>Returns when what was signalled before has been served: the second call runs in a later turn than the first.</summary>
    internal void Settle()
    {
        OnReactor(() => { });
        OnReactor(() => { });
    }

    /// <summary>Stops every ring, as a machine that is paused or moved.</summary>
    /// <returns>Where each stood.</returns>
    internal uint[] Pause() => [.. Rings.Select(ring => Connection!.StopRing(ring.Index))];

    internal void Resume(uint[] positions)
    {
        foreach (VhostUserRing ring in Rings) Connection!.StartRing(ring, positions[ring.Index]);
    }

    /// <summary>The back-end goes, and another one goes on with the same driver.</summary>
    internal void Move(uint[] positions)
    {
        Connection!.Dispose();
        _served.Dispose();
        _served = new ServedDevice(_battery.Make());
        Negotiate();
        Connection.ShareMemory(Memory!);
        Resume(positions);
    }

    internal void Leave()
    {
        Connection?.Dispose();
        Connection = null;
        // The next front-end is taken when this one is gone.
        Assert.True(SpinWait.SpinUntil(() => !_served.Backend.IsConnected, Patience), "the session does not end");
        _rings.ForEach(each => each.Dispose());
        _rings.Clear();
        Memory?.Dispose();
        Memory = null;
    }

    public void Dispose()
    {
        Leave();
        _served.Dispose();
    }

    private void OnReactor(Action action)
    {
        TaskCompletionSource done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _served.Remote.Post(_ =>
        {
            action();
            done.SetResult();
        });
        Assert.True(done.Task.Wait(Patience), "the reactor does not turn");
    }
}
