using System.Buffers.Binary;
using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Tests that count the descriptors and the memory of the whole process, and so run alone.</summary>
[CollectionDefinition(nameof(WholeProcess), DisableParallelization = true)]
public sealed class WholeProcess;

/// <summary>Thousands of front-ends, sane and not, one after the other: the process keeps nothing of them.</summary>
[Collection(nameof(WholeProcess))]
public sealed class SocketFuzzTests
{
    private const long GrowthBytesMax = 4 << 20;
    private const int RuntimeFdsMax = 16;

    [Fact]
    public void Random_front_ends_leave_nothing_behind_and_the_next_is_served()
    {
        int sessions = FromEnvironment("VMM_FUZZ_SESSIONS", 400);
        int seed = FromEnvironment("VMM_SEED", Environment.TickCount);
        using TemporaryImage image = new(sectors: 64);
        using ServedDevice served = new(image.OpenDevice(queues: 2));
        using EventFd witness = new();
        HostileFrontEndTests.AssertNextIsServed(served);
        try
        {
            for (int i = 0; i < sessions; i++) RandomSession(served, new Random(seed + i), witness);
            HostileFrontEndTests.AssertNextIsServed(served);
            Assert.Equal(1, OpenFds.Of(witness));
            Assert.Empty(served.Failures);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            throw new InvalidOperationException($"failed with VMM_SEED={seed}", exception);
        }
    }

    [Fact]
    public void Ten_thousand_connections_leave_no_descriptor_and_no_memory_behind()
    {
        int connections = FromEnvironment("VMM_SOAK_CONNECTIONS", 10_000);
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        int fds = 0;
        long bytes = 0;
        for (int i = 0; i < connections; i++)
        {
            if (i == connections / 10) (fds, bytes) = Measure(served);
            Connect(served, i);
        }
        (int fdsAfter, long bytesAfter) = Measure(served);
        // The runtime opens some of its own now and then; a leak of ours would be one for each of thousands of connections.
        Assert.InRange(fdsAfter - fds, int.MinValue, RuntimeFdsMax);
        Assert.InRange(bytesAfter - bytes, long.MinValue, GrowthBytesMax);
        Assert.True(served.Backend.Connections >= connections);
    }

    internal static int FromEnvironment(string name, int standard) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int value) ? value : standard;

    /// <summary>What there is once everything so far is gone: the next front-end in turn has been served.</summary>
    private static (int Fds, long Bytes) Measure(ServedDevice served)
    {
        HostileFrontEndTests.AssertNextIsServed(served);
        served.Connect().Dispose();
        long connections = served.Backend.Connections;
        served.Connect().Dispose();
        Assert.True(SpinWait.SpinUntil(() => served.Backend.Connections > connections, TimeSpan.FromSeconds(30)));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (Directory.GetFileSystemEntries("/proc/self/fd").Length, GC.GetTotalMemory(forceFullCollection: true));
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

    private static void RandomSession(ServedDevice served, Random random, EventFd witness)
    {
        using VhostUserFrontend frontend = served.Connect();
        using GuestRegion region = GuestRegion.Create(0, 1 << 16);
        (UnixSocket ours, UnixSocket theirs) = UnixSocket.Pair();
        int[] fds = [witness.Number, region.File.Number, theirs.Number, 0];
        try
        {
            if (random.Next(4) > 0) frontend.Negotiate(VirtioFeatures.EventIndex);
            if (random.Next(3) > 0) StartRing(frontend, region, random, witness);
            for (int i = random.Next(40); i > 0; i--) SayAnything(frontend, random, fds);
        }
        catch (VhostUserException gone)
        {
            // Refused or cut off: what a front-end like this one has to expect. Silence is what it must not meet.
            Assert.DoesNotContain("does not answer", gone.Message, StringComparison.Ordinal);
        }
        ours.Dispose();
        theirs.Dispose();
    }

    /// <summary>A ring of a sane layout whose content is noise.</summary>
    private static void StartRing(VhostUserFrontend frontend, GuestRegion region, Random random, EventFd witness)
    {
        using (FileStream file = new($"/proc/self/fd/{region.File.Number}", FileMode.Open, FileAccess.Write))
        {
            byte[] noise = new byte[3 * 4096];
            random.NextBytes(noise);
            // Small addresses hit memory now and then.
            for (int i = 0; i < noise.Length; i += 8) BinaryPrimitives.WriteUInt64LittleEndian(noise.AsSpan(i), (ulong)random.Next(1 << random.Next(1, 18)));
            file.Write(noise);
        }
        using GuestMemory memory = new();
        frontend.Do(VhostUserRequest.AddMemoryRegion, VhostUserFrontend.SlotPayload(region), [region.File.Number]);
        ulong start = (ulong)region.HostAddress;
        frontend.Do(VhostUserRequest.SetVringNum, VhostUserFrontend.StatePayload(0, 16), []);
        frontend.Do(VhostUserRequest.SetVringAddress,
            [.. new byte[8], .. BitConverter.GetBytes(start), .. BitConverter.GetBytes(start + 8192), .. BitConverter.GetBytes(start + 4096), .. new byte[8]], []);
        frontend.Do(VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [witness.Number]);
        frontend.Do(VhostUserRequest.SetVringEnable, VhostUserFrontend.StatePayload(0, 1), []);
    }

    private static void SayAnything(VhostUserFrontend frontend, Random random, int[] fds)
    {
        VhostUserRequest[] known = Enum.GetValues<VhostUserRequest>();
        VhostUserRequest request = random.Next(20) == 0 ? (VhostUserRequest)random.Next() : known[random.Next(known.Length)];
        bool isKnown = MessageShape.TryGet(request, out MessageShape shape);
        int bytes = isKnown && random.Next(10) > 0 ? random.Next(2) == 0 ? shape.PayloadMin : shape.PayloadMax : random.Next(400);
        int count = isKnown && random.Next(10) > 0 ? random.Next(shape.FdsMin, shape.FdsMax + 1) : random.Next(10);
        byte[] message = new byte[VhostUserHeader.Bytes + bytes];
        bool needsReply = random.Next(2) == 0;
        VhostUserHeader.ForRequest((uint)request, bytes, needsReply).Write(message);
        for (int i = VhostUserHeader.Bytes; i + 4 <= message.Length; i += 4)
            BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(i), random.Next(3) == 0 ? random.Next() : random.Next(3));
        if (random.Next(15) == 0) message[random.Next(VhostUserHeader.Bytes)] ^= (byte)(1 << random.Next(8));
        int[] sentFds = [.. Enumerable.Range(0, count).Select(_ => fds[random.Next(fds.Length)])];
        int cut = random.Next(5) == 0 ? random.Next(1, message.Length) : message.Length;
        frontend.Socket.Send(message.AsSpan(0, cut), sentFds, out Errno errno);
        if (cut < message.Length && random.Next(3) > 0) frontend.Socket.Send(message.AsSpan(cut), random.Next(4) == 0 ? sentFds : [], out errno);
        if (errno == Errno.BrokenPipe) throw new VhostUserException("cut off");
        // Now and then read what came back, whatever it is; else let it pile up.
        using ReceivedFds received = new();
        if (random.Next(2) == 0 && frontend.Socket.WaitReadable(1)) frontend.Socket.Receive(new byte[1024], received);
    }
}
