using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A driver that rewrites what the device reads, while it reads it. Whatever is checked must be what is used.</summary>
public sealed class RacingDriverTests
{
    private const int Rounds = 10_000;
    private const int Wanted = 30;
    private const int ChangesSeen = 500;
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(60);

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "double fetch: descriptors rewritten between check and use")]
    [Trait("Outcome", "refused or served within memory")]
    public void Descriptors_rewritten_by_a_racing_thread_never_reach_out_of_memory(RingShape shape)
    {
        using RingRig rig = new(shape, size: 8);
        nint host = rig.Memory.Regions[0].HostAddress;
        using CancellationTokenSource stop = new();
        using DriverQueue racing = DriverQueue.Create(rig.Memory, rig.Allocator, 8, shape.Features);
        Thread racer = new(() => Rewrite(racing, stop.Token));
        racer.Start();
        try
        {
            int served = 0, faults = 0;
            IoVector[] vectors = new IoVector[64];
            VirtQueue queue = Start();
            Stopwatch watch = Stopwatch.StartNew();
            for (int round = 0; round < Rounds || served < Wanted || faults < Wanted; round++)
            {
                Assert.True(watch.Elapsed < Watchdog, $"{served} chains and {faults} faults: nothing raced");
                if (racing is SplitDriverQueue split) split.MakeAvailable((ushort)(round % 8));
                if (queue.TryPop(out DescriptorChain? chain))
                {
                    Assert.InRange(chain.ReadableLength + chain.WritableLength, 0u, 1UL << 32);
                    CheckVectors(chain.Readable.FillVectors(vectors, 0, ulong.MaxValue, out _), chain.ReadableLength);
                    CheckVectors(chain.Writable.FillVectors(vectors, 0, ulong.MaxValue, out _), chain.WritableLength);
                    queue.Push(chain, 0);
                    served++;
                }
                queue.Publish();
                if (queue.FirstFault.Kind == GuestFaultKind.None) continue;
                faults++;
                queue.Dispose();
                queue = Start();
            }
            queue.Dispose();

            void CheckVectors(int count, ulong length)
            {
                ulong total = 0;
                foreach (IoVector vector in vectors.AsSpan(0, count))
                {
                    Assert.InRange((ulong)(vector.Address - host), 0u, RingRig.MemoryLength);
                    Assert.InRange((ulong)(vector.Address - host) + vector.Length, 0u, RingRig.MemoryLength);
                    total += vector.Length;
                }
                Assert.Equal(length, total);
            }
        }
        finally
        {
            stop.Cancel();
            racer.Join();
        }

        VirtQueue Start()
        {
            if (racing is SplitDriverQueue split) split.StartAt(0);
            Assert.True(VirtQueue.TryCreate(racing.Configuration(), rig.Memory, rig.Signals, out VirtQueue? queue, out _));
            return queue;
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "double fetch of a request header: what was copied out is what is used")]
    [Trait("Outcome", "the copy is used")]
    public void A_header_read_from_a_chain_does_not_change_under_its_checks(RingShape shape)
    {
        using RingRig rig = new(shape);
        using CancellationTokenSource stop = new();
        Thread racer = new(() =>
        {
            Span<byte> header = stackalloc byte[16];
            for (byte value = 0; !stop.IsCancellationRequested; value++)
            {
                header.Fill(value);
                rig.Memory.TryWrite(RingRig.BufferStart, header);
            }
        });
        racer.Start();
        for (int i = 0; i < Rounds; i++)
        {
            rig.Add([new GuestBuffer(RingRig.BufferStart, 16)], []);
            rig.Driver.Publish();
            DescriptorChain chain = rig.Pop();
            Assert.True(chain.Readable.TryRead(out UInt128 header));
            UInt128 copy = header;
            Thread.SpinWait(5);
            Assert.Equal(copy, header);
            rig.Device.Push(chain, 0);
            rig.Device.Publish();
            rig.Collect();
        }
        stop.Cancel();
        racer.Join();
    }

    [Fact]
    [Trait("Source", "torn 16-bit index: it is read with one aligned access")]
    [Trait("Outcome", "read with one access")]
    public void An_available_index_is_never_seen_torn()
    {
        using RingRig rig = new(new RingShape(false, false, false), size: 256, configure: c => c with { AvailBase = 0x00f0 }, prepare: driver => ((SplitDriverQueue)driver).StartAt(0x00f0));
        using CancellationTokenSource stop = new();
        // Read in two halves, these make 0x01ff (too far ahead) or 0x0000 (behind).
        Thread racer = new(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                rig.Split.AvailableIndex = 0x00ff;
                rig.Split.AvailableIndex = 0x0100;
            }
        });
        rig.Split.AvailableIndex = 0x00ff;
        racer.Start();
        QueueConfiguration configuration = rig.Driver.Configuration() with { AvailBase = 0x00ff, Statistics = rig.Device.Statistics };
        Stopwatch watch = Stopwatch.StartNew();
        bool before = false;
        for (int changes = 0; changes < ChangesSeen;)
        {
            Assert.True(watch.Elapsed < Watchdog, $"the index was seen to change {changes} times only");
            Assert.True(VirtQueue.TryCreate(configuration, rig.Memory, rig.Signals, out VirtQueue? queue, out _));
            bool moved = queue.TryPop(out DescriptorChain? chain);
            if (moved != before) changes++;
            before = moved;
            if (chain is not null) queue.Push(chain, 0);
            Assert.Equal(GuestFaultKind.None, queue.FirstFault.Kind);
            queue.Dispose();
        }
        stop.Cancel();
        racer.Join();
    }

    [Theory, InlineData(false), InlineData(true)]
    [Trait("Source", "torn 16-bit flags: the two bits that make a packed descriptor available are in its two bytes, and read with one aligned access")]
    [Trait("Rings", "packed")]
    [Trait("Outcome", "read with one access")]
    public void Packed_flags_are_never_seen_torn(bool secondLap)
    {
        const ushort Available = 1 << 7, Used = 1 << 15;
        using RingRig rig = new(new RingShape(true, false, false), size: 256);
        using CancellationTokenSource stop = new();
        // Neither is available; half of the one and half of the other would be, in one lap or the other.
        Thread racer = new(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                rig.Packed.WriteDescriptor(0, RingRig.BufferStart, 8, 0, Available | Used);
                rig.Packed.WriteDescriptor(0, RingRig.BufferStart, 8, 0, 0);
            }
        });
        // Bit 15 of the position is the lap.
        ushort position = secondLap ? (ushort)0 : (ushort)0x8000;
        QueueConfiguration configuration = rig.Driver.Configuration() with { AvailBase = position, UsedBase = position, Statistics = rig.Device.Statistics };
        Assert.True(VirtQueue.TryCreate(configuration, rig.Memory, rig.Signals, out VirtQueue? queue, out _));
        racer.Start();
        try
        {
            for (int i = 0; i < Rounds * 100; i++) Assert.False(queue.TryPop(out _));
            Assert.Equal(GuestFaultKind.None, queue.FirstFault.Kind);
        }
        finally
        {
            stop.Cancel();
            racer.Join();
        }
        // It was looking at the right place.
        rig.Packed.WriteDescriptor(0, RingRig.BufferStart, 8, 0, secondLap ? Used : Available);
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        queue.Push(chain, 0);
        queue.Dispose();
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn)")]
    [Trait("Outcome", "the turn ends")]
    public void A_turn_ends_while_a_driver_keeps_adding(RingShape shape)
    {
        using RingRig rig = new(shape);
        for (int turn = 0; turn < 50; turn++)
        {
            rig.Device.Turn.ChainsMax = 100;
            rig.Device.Turn.Begin();
            int served = 0;
            while (served <= 1_000)
            {
                while (rig.Driver.TryAdd([new GuestBuffer(RingRig.BufferStart, 8)], [], out _)) { }
                rig.Driver.Publish();
                if (!rig.Device.TryPop(out DescriptorChain? chain)) break;
                rig.Device.Push(chain, 0);
                served++;
                rig.Device.Publish();
                while (rig.Driver.TryCollect(out _)) { }
            }
            Assert.Equal(100, served);
        }
    }

    private static void Rewrite(DriverQueue driver, CancellationToken stop)
    {
        Random random = new(7);
        // Descriptors that are right and that are wrong in each field, switched under the device's eyes.
        while (!stop.IsCancellationRequested)
        {
            int index = random.Next(8);
            (ulong address, uint length) = random.Next(8) switch
            {
                0 => (RingRig.MemoryLength - 4, 8u),
                1 => (ulong.MaxValue, 16u),
                2 => (RingRig.BufferStart, uint.MaxValue),
                3 => (driver.DescriptorTable, 64u),
                _ => (RingRig.BufferStart + (ulong)random.Next(4096), (uint)random.Next(256)),
            };
            ushort flags = (ushort)(random.Next(4) == 0 ? random.Next(8) : random.Next(2) * 2);
            if (driver is PackedDriverQueue packed)
                packed.WriteDescriptor(index, address, length, (ushort)index, (ushort)(flags | (random.Next(2) == 0 ? 0x80 : 0x8000)));
            else
                ((SplitDriverQueue)driver).WriteDescriptor(index, address, length, flags, (ushort)random.Next(9));
        }
    }
}
