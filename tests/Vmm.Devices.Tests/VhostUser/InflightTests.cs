using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device's side that vanishes between any two steps: whoever takes the ring over gives every request once more that was not answered.</summary>
public sealed class InflightTests : IDisposable
{
    private const ushort Size = 8;
    private const ulong MemoryBytes = 1 << 16;

    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private readonly GuestAllocator _allocator = new(0, MemoryBytes);
    private readonly InflightRegion _region = InflightRegion.Create(queues: 2, Size);
    private readonly SplitDriverQueue _driver;
    private readonly ulong _buffer;

    public InflightTests()
    {
        _driver = (SplitDriverQueue)DriverQueue.Create(_memory, _allocator, Size, VirtioFeatures.Version1);
        _buffer = _allocator.Allocate(64);
    }

    [Fact]
    public void What_was_taken_and_not_given_back_is_taken_again_in_its_order()
    {
        ushort[] added = [Add(), Add(), Add(), Add()];
        VirtQueue first = Serve(0);
        DescriptorChain[] chains = [Pop(first), Pop(first), Pop(first)];
        first.Push(chains[1], 0);
        first.Publish();

        VirtQueue second = Serve(1);
        Assert.Equal([added[0], added[2], added[3]], PopAll(second));
    }

    [Fact]
    public void What_was_given_back_but_not_published_is_taken_again()
    {
        ushort[] added = [Add(), Add()];
        VirtQueue first = Serve(0);
        first.Push(Pop(first), 0);

        VirtQueue second = Serve(0);
        Assert.Equal(added, PopAll(second));
    }

    [Fact]
    public void What_was_published_is_not_taken_again_even_if_the_log_does_not_say_so_yet()
    {
        ushort[] added = [Add(), Add(), Add()];
        VirtQueue first = Serve(0);
        DescriptorChain[] chains = [Pop(first), Pop(first), Pop(first)];
        first.Push(chains[0], 0);
        first.Publish();
        first.Push(chains[2], 0);
        first.Push(chains[1], 0);
        // Killed between the store of the used index and the stores to the log.
        byte[] log = ReadLog();
        first.Publish();
        WriteLog(log);

        Assert.Empty(PopAll(Serve(3)));
        Assert.Equal(3, _driver.UsedIndex);
        Assert.Equal(added.Order(), Collect().Order());
    }

    [Fact]
    public void A_random_life_with_deaths_answers_every_request_at_least_once_and_shows_each_once()
    {
        int seed = SocketSoakTests.FromEnvironment("VMM_SEED", Environment.TickCount);
        Random random = new(seed);
        HashSet<ushort> outstanding = [];
        VirtQueue device = Serve(0);
        List<DescriptorChain> taken = [];
        int answered = 0;
        for (int step = 0; step < 20_000; step++)
        {
            switch (random.Next(6))
            {
                case 0 when _driver.Free > 0: Assert.True(outstanding.Add(Add()), $"VMM_SEED={seed}: an id twice"); break;
                case 1 when device.TryPop(out DescriptorChain? chain): taken.Add(chain); break;
                case 2 when taken.Count > 0:
                    int which = random.Next(taken.Count);
                    device.Push(taken[which], 0);
                    taken.RemoveAt(which);
                    break;
                case 3: device.Publish(); break;
                case 4:
                    foreach (ushort id in Collect())
                    {
                        Assert.True(outstanding.Remove(id), $"VMM_SEED={seed}: shown twice");
                        answered++;
                    }
                    break;
                case 5 when random.Next(10) == 0:
                    if (random.Next(2) == 0)
                    {
                        byte[] log = ReadLog();
                        device.Publish();
                        WriteLog(log);
                    }
                    taken.Clear();
                    device = Serve(_driver.UsedIndex);
                    break;
            }
        }
        while (device.TryPop(out DescriptorChain? chain)) taken.Add(chain);
        foreach (DescriptorChain chain in taken) device.Push(chain, 0);
        device.Publish();
        foreach (ushort id in Collect()) Assert.True(outstanding.Remove(id), $"VMM_SEED={seed}: shown twice");
        Assert.True(outstanding.Count == 0, $"VMM_SEED={seed}: {outstanding.Count} requests lost");
        Assert.True(answered > 100, $"VMM_SEED={seed}: only {answered} requests, nothing was tested");
    }

    [Fact]
    public void A_log_full_of_noise_is_refused_or_gives_what_the_ring_has()
    {
        Random random = new(7);
        for (int i = 0; i < 200; i++)
        {
            byte[] noise = ReadLog();
            random.NextBytes(noise);
            if (i % 2 == 0)
            {
                BinaryPrimitives.WriteUInt16LittleEndian(noise.AsSpan(8), 1);
                BinaryPrimitives.WriteUInt16LittleEndian(noise.AsSpan(10), Size);
            }
            WriteLog(noise);
            Assert.True(_region.TryGetLog(0, out InflightLog? log));
            Assert.All(log.Recover((ushort)random.Next()), head => Assert.InRange(head, 0, Size - 1));
        }
    }

    [Fact]
    public void Geometry_that_does_not_fit_is_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        foreach (InflightGeometry wrong in new InflightGeometry[]
        {
            new(4096, 0, 0, 16), new(4096, 0, 2, 16), new(4096, 0, ushort.MaxValue, 16), new(4096, 0, 1, 0), new(4096, 0, 1, ushort.MaxValue),
            new(InflightLog.BytesFor(16) - 1, 0, 1, 16), new(4096, 3, 1, 16), new(4096, 4096, 1, 16), new(4096, ulong.MaxValue - 7, 1, 16), new(ulong.MaxValue, 0, 1, 256),
        })
        {
            using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
            using VhostUserInflight logs = frontend.GetInflight(1, 16);
            Assert.Throws<VhostUserException>(() => frontend.ShareInflight(new VhostUserInflight(logs.File, wrong)));
        }
        HostileFrontEndTests.AssertNextIsServed(served);
    }

    [Theory]
    [InlineData(20)]
    [InlineData(24)]
    public void The_description_is_taken_with_and_without_padding(int payloadBytes)
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        byte[] payload = new byte[payloadBytes];
        new InflightGeometry(0, 0, 1, 128).Write(payload);
        frontend.Send(VhostUserRequest.GetInflightFd, payload, []);
        byte[] reply = frontend.Receive(VhostUserRequest.GetInflightFd).ToArray();
        Assert.Equal(payloadBytes, reply.Length);
        Assert.Equal(1, frontend.ReplyFds.Count);
        Assert.Equal(2112u, InflightGeometry.Read(reply).Bytes);
        frontend.Do(VhostUserRequest.SetInflightFd, reply, [frontend.ReplyFds.Peek(0)]);
    }

    public void Dispose()
    {
        _driver.Dispose();
        _region.Dispose();
        _memory.Dispose();
    }

    private ushort Add()
    {
        Assert.True(_driver.TryAdd([new GuestBuffer(_buffer, 16)], [], out ushort id));
        _driver.Publish();
        return id;
    }

    /// <summary>Takes the ring over as a back-end does whose front-end says where the driver is.</summary>
    private VirtQueue Serve(ushort baseIndex)
    {
        Assert.True(_region.TryGetLog(1, out InflightLog? log));
        ushort[] retaken = log.Recover(_driver.UsedIndex);
        QueueConfiguration configuration = _driver.Configuration() with
        {
            AvailBase = (ushort)(baseIndex + retaken.Length),
            UsedBase = baseIndex,
            Inflight = log,
            Retaken = retaken,
        };
        Assert.True(VirtQueue.TryCreate(configuration, _memory, new SilentInterrupt(), out VirtQueue? queue, out _));
        return queue;
    }

    private static DescriptorChain Pop(VirtQueue queue)
    {
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        return chain;
    }

    private static ushort[] PopAll(VirtQueue queue)
    {
        List<ushort> heads = [];
        while (queue.TryPop(out DescriptorChain? chain)) heads.Add(chain.Id);
        return [.. heads];
    }

    private List<ushort> Collect()
    {
        List<ushort> ids = [];
        while (_driver.TryCollect(out UsedChain used)) ids.Add(used.Id);
        return ids;
    }

    private byte[] ReadLog()
    {
        using FileStream file = new($"/proc/self/fd/{_region.File.Number}", FileMode.Open, FileAccess.Read);
        byte[] bytes = new byte[_region.Geometry.Bytes];
        file.ReadExactly(bytes);
        return bytes;
    }

    private void WriteLog(byte[] bytes)
    {
        using FileStream file = new($"/proc/self/fd/{_region.File.Number}", FileMode.Open, FileAccess.Write);
        file.Write(bytes);
    }

    internal sealed class SilentInterrupt : IVirtioInterrupt
    {
        public void SignalQueue(int queueIndex)
        {
        }

        public void SignalConfig()
        {
        }

        public void SignalNeedsReset()
        {
        }
    }
}
