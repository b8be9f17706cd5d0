using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device's side that vanishes between any two steps: whoever takes the ring over gives every request once more that was not answered.</summary>
public sealed class InflightTests() : InflightSuite(packed: false)
{
    [Fact]
    public void What_was_taken_and_not_given_back_is_taken_again_in_its_order()
    {
        ushort[] added = [Add(), Add(), Add(), Add()];
        VirtQueue first = Serve(0);
        DescriptorChain[] chains = [Pop(first), Pop(first), Pop(first)];
        first.Push(chains[1], 0);
        first.Publish();

        VirtQueue second = Serve(1);
        Assert.Equal([added[0], added[2], added[3]], PopAll(second).Select(chain => chain.Id));
    }

    [Fact]
    public void What_was_given_back_but_not_published_is_taken_again()
    {
        ushort[] added = [Add(), Add()];
        VirtQueue first = Serve(0);
        first.Push(Pop(first), 0);

        VirtQueue second = Serve(0);
        Assert.Equal(added, PopAll(second).Select(chain => chain.Id));
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
        Assert.Equal(3, UsedIndex);
        Assert.Equal(added.Order(), Collect().Order());
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
            Assert.True(Region.TryGetLog(0, out InflightLog? log));
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

    private protected override VirtQueue Serve() => Serve(UsedIndex);

    private protected override void PublishInPart(VirtQueue device, Random random)
    {
        // Between the store of the used index and the stores to the log.
        byte[] log = ReadLog();
        device.Publish();
        WriteLog(log);
    }

    private ushort UsedIndex => ((SplitDriverQueue)Driver).UsedIndex;

    /// <summary>Takes the ring over as a back-end does whose front-end says where the driver is.</summary>
    private VirtQueue Serve(ushort baseIndex)
    {
        Assert.True(Region.TryGetLog(1, out InflightLog? log));
        ushort[] retaken = log.Recover(UsedIndex);
        QueueConfiguration configuration = Driver.Configuration() with
        {
            AvailBase = (ushort)(baseIndex + retaken.Length),
            UsedBase = baseIndex,
            Inflight = log,
            Retaken = retaken,
        };
        Assert.True(VirtQueue.TryCreate(configuration, Memory, new SilentInterrupt(), out VirtQueue? queue, out _));
        return queue;
    }
}
