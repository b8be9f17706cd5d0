using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Thousands of front-ends one after the other: the process keeps nothing of them.</summary>
public abstract class SocketSoakTests(PollerKind poller) : PollerSuite(poller)
{
    private const long GrowthBytesMax = 4 << 20;

    [Fact]
    public void Ten_thousand_connections_leave_no_descriptor_and_no_memory_behind()
    {
        int connections = FromEnvironment("VMM_SOAK_CONNECTIONS", 10_000);
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        string[] fds = [];
        long bytes = 0;
        // The runtime opens its source of seeds with the first of them, and keeps it.
        _ = new Random().Next();
        for (int i = 0; i < connections; i++)
        {
            if (i == connections / 10) (fds, bytes) = Measure(served);
            Connect(served, i);
        }
        (string[] fdsAfter, long bytesAfter) = Measure(served);
        // By what they are, so that a failure names what leaks. Those of threads that ended before this test go when these are collected.
        List<string> added = [.. fdsAfter];
        foreach (string fd in fds) added.Remove(fd);
        Assert.Empty(added);
        Assert.InRange(bytesAfter - bytes, long.MinValue, GrowthBytesMax);
        Assert.True(served.Backend.Connections >= connections);
    }

    internal static int FromEnvironment(string name, int standard) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int value) ? value : standard;

    /// <summary>What there is once everything so far is gone: the next front-end in turn has been served.</summary>
    private static (string[] Fds, long Bytes) Measure(ServedDevice served)
    {
        HostileFrontEndTests.AssertNextIsServed(served);
        served.Connect().Dispose();
        long connections = served.Backend.Connections;
        served.Connect().Dispose();
        Assert.True(SpinWait.SpinUntil(() => served.Backend.Connections > connections, TimeSpan.FromSeconds(30)));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (OpenFds.Kinds(), GC.GetTotalMemory(forceFullCollection: true));
    }

    /// <summary>Each comes a different way and goes at a different point.</summary>
    private static void Connect(ServedDevice served, int number)
    {
        using VhostUserFrontend frontend = served.Connect();
        if (number % 4 == 0) return;
        frontend.Negotiate(0);
        if (number % 4 == 1) return;
        using EventFd fd = new();
        frontend.Do(VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0), [fd.Number]);
        frontend.Do(VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [fd.Number]);
        if (number % 4 == 2) return;
        if (number % 100 == 3) using (DiskDriver disk = new(frontend)) disk.WriteSector(0, 1);
        else frontend.Send(VhostUserRequest.SetVringCall, new byte[7], [fd.Number, fd.Number]);
    }
}

[Collection(Alone.Name)]
public sealed class SocketSoakOnEpollTests() : SocketSoakTests(PollerKind.Epoll);

[Collection(Alone.Name)]
public sealed class SocketSoakOnIoRingTests() : SocketSoakTests(PollerKind.IoRing);
