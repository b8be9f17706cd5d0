using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
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
    public void The_driver_sees_a_used_index_before_the_log_lets_go_of_its_chains()
    {
        // Otherwise a server killed between the two stores loses what the log no longer names and the driver does not see.
        const int LogUsedIndex = 14;
        using MemoryMappedFile file = MemoryMappedFile.CreateFromFile($"/proc/self/fd/{Region.File.Number}", FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        // The ring is the second of its device: its log is behind the first one's.
        using MemoryMappedViewAccessor log = file.CreateViewAccessor((long)InflightLog.BytesFor(Size), 64, MemoryMappedFileAccess.Read);
        VirtQueue device = Serve(0);
        using CancellationTokenSource done = new();
        int early = 0, looks = 0;
        Thread watcher = new(() =>
        {
            while (!done.IsCancellationRequested)
            {
                ushort logged = log.ReadUInt16(LogUsedIndex);
                Thread.MemoryBarrier();
                // The counters wrap: only a small lead is one, not the delay of this thread.
                if ((short)(UsedIndex - logged) is < 0 and > -Size) early++;
                Volatile.Write(ref looks, looks + 1);
            }
        });
        watcher.Start();
        for (int round = 0; round < 300_000 || Volatile.Read(ref looks) < 300_000; round++)
        {
            Add();
            device.Push(Pop(device), 0);
            device.Publish();
            Assert.True(Driver.TryCollect(out _));
        }
        done.Cancel();
        watcher.Join();
        Assert.Equal(0, early);
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
        IReadOnlyCollection<ushort> retaken = log.Recover(UsedIndex);
        QueueConfiguration configuration = Driver.Configuration() with
        {
            AvailBase = (ushort)(baseIndex + retaken.Count),
            UsedBase = baseIndex,
            Journal = log,
        };
        Assert.True(VirtQueue.TryCreate(configuration, Memory, new SignalCounter(), out VirtQueue? queue, out _));
        return queue;
    }
}
