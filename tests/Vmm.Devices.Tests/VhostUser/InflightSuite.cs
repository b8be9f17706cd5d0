using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device's side that vanishes between any two steps, on one kind of ring: what there is to test it with, and a long random life.</summary>
public abstract class InflightSuite : IDisposable
{
    private protected const ushort Size = 8;
    private const ulong MemoryBytes = 1 << 16;
    private const int Steps = 20_000;

    private readonly GuestAllocator _allocator = new(0, MemoryBytes);
    private readonly ulong _buffer;

    private protected InflightSuite(bool packed)
    {
        Region = InflightRegion.Create(queues: 2, Size, packed);
        Driver = DriverQueue.Create(Memory, _allocator, Size, VirtioFeatures.Version1 | (packed ? VirtioFeatures.PackedRing : 0));
        _buffer = _allocator.Allocate(64);
    }

    private protected GuestMemory Memory { get; } = GuestMemory.Create(MemoryBytes);

    private protected InflightRegion Region { get; }

    private protected DriverQueue Driver { get; }

    [Fact]
    public void A_random_life_with_deaths_answers_every_request_at_least_once_and_shows_each_once()
    {
        int seed = SocketSoakTests.FromEnvironment("VMM_SEED", Environment.TickCount);
        Random random = new(seed);
        HashSet<ushort> outstanding = [];
        VirtQueue device = Serve();
        List<DescriptorChain> taken = [];
        int answered = 0, deaths = 0;
        void CollectAll()
        {
            foreach (ushort id in Collect())
            {
                Assert.True(outstanding.Remove(id), $"VMM_SEED={seed}: shown twice");
                answered++;
            }
        }
        for (int step = 0; step < Steps; step++)
        {
            switch (random.Next(6))
            {
                case 0:
                    int buffers = random.Next(1, 4);
                    if (Driver.Free >= buffers) Assert.True(outstanding.Add(Add(buffers)), $"VMM_SEED={seed}: an id twice");
                    break;
                case 1 when device.TryPop(out DescriptorChain? chain):
                    if (random.Next(8) == 0) device.Unpop(chain); else taken.Add(chain);
                    break;
                case 2 when taken.Count > 0:
                    int which = random.Next(taken.Count);
                    device.Push(taken[which], 0);
                    taken.RemoveAt(which);
                    break;
                case 3: device.Publish(); break;
                case 4: CollectAll(); break;
                case 5 when random.Next(10) == 0:
                    if (random.Next(2) == 0) PublishInPart(device, random);
                    taken.Clear();
                    device = Serve();
                    deaths++;
                    break;
            }
        }
        taken.AddRange(PopAll(device));
        foreach (DescriptorChain chain in taken) device.Push(chain, 0);
        device.Publish();
        CollectAll();
        Assert.True(outstanding.Count == 0, $"VMM_SEED={seed}: {outstanding.Count} requests lost, {device.FirstFault}");
        Assert.True(answered > 100 && deaths > 100, $"VMM_SEED={seed}: only {answered} requests and {deaths} deaths, nothing was tested");
    }

    public void Dispose()
    {
        Driver.Dispose();
        Region.Dispose();
        Memory.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Takes the ring over, as a back-end does that comes after one which was killed.</summary>
    private protected abstract VirtQueue Serve();

    /// <summary>Publishes, and leaves memory as it is if the device's side vanishes in the middle of that.</summary>
    private protected abstract void PublishInPart(VirtQueue device, Random random);

    private protected ushort Add(int buffers = 1)
    {
        Assert.True(Driver.TryAdd([.. Enumerable.Repeat(new GuestBuffer(_buffer, 16), buffers)], [], out ushort id));
        Driver.Publish();
        return id;
    }

    private protected static DescriptorChain Pop(VirtQueue queue)
    {
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        return chain;
    }

    private protected static List<DescriptorChain> PopAll(VirtQueue queue)
    {
        List<DescriptorChain> chains = [];
        while (queue.TryPop(out DescriptorChain? chain)) chains.Add(chain);
        return chains;
    }

    private protected List<ushort> Collect()
    {
        List<ushort> ids = [];
        while (Driver.TryCollect(out UsedChain used)) ids.Add(used.Id);
        return ids;
    }

    private protected byte[] ReadLog()
    {
        using FileStream file = new($"/proc/self/fd/{Region.File.Number}", FileMode.Open, FileAccess.Read);
        byte[] bytes = new byte[Region.Geometry.Bytes];
        file.ReadExactly(bytes);
        return bytes;
    }

    private protected void WriteLog(byte[] bytes)
    {
        using FileStream file = new($"/proc/self/fd/{Region.File.Number}", FileMode.Open, FileAccess.Write);
        file.Write(bytes);
    }
}
