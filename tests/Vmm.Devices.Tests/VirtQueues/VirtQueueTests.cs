using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class VirtQueueTests
{
    private static readonly GuestBuffer Readable = new(RingRig.BufferStart, 16);
    private static readonly GuestBuffer Writable = new(RingRig.BufferStart + 4096, 512);

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_chain_goes_to_the_device_and_comes_back_with_what_was_written(RingShape shape)
    {
        using RingRig rig = new(shape);
        Assert.False(rig.Device.TryPop(out _));
        ushort id = rig.Add([Readable], [Writable]);
        Assert.False(rig.Device.TryPop(out _));
        rig.Driver.Publish();

        DescriptorChain chain = rig.Pop();
        Assert.Equal(16u, chain.ReadableLength);
        Assert.Equal(512u, chain.WritableLength);
        Assert.Equal(1, rig.Device.InFlight);
        rig.Device.Push(chain, 100);
        Assert.False(rig.Driver.TryCollect(out _));
        rig.Device.Publish();
        Assert.Equal(new UsedChain(id, 100), rig.Collect());
        Assert.Equal(0, rig.Device.InFlight);
        Assert.Equal(rig.Driver.Size, rig.Driver.Free);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Chains_pushed_in_another_order_come_back_in_that_order(RingShape shape)
    {
        using RingRig rig = new(shape);
        ushort[] ids = new ushort[4];
        for (int i = 0; i < ids.Length; i++) ids[i] = rig.Add([new GuestBuffer(RingRig.BufferStart, (uint)i + 1)], [Writable]);
        rig.Driver.Publish();
        DescriptorChain[] chains = [rig.Pop(), rig.Pop(), rig.Pop(), rig.Pop()];
        Assert.Equal([1ul, 2, 3, 4], chains.Select(chain => chain.ReadableLength));
        foreach (int i in (int[])[2, 0, 3, 1]) rig.Device.Push(chains[i], (uint)i);
        rig.Device.Publish();
        Assert.Equal([new(ids[2], 2), new(ids[0], 0), new(ids[3], 3), new(ids[1], 1)],
            new UsedChain[] { rig.Collect(), rig.Collect(), rig.Collect(), rig.Collect() });
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Indexes_wrap_many_times_with_the_ring_full(RingShape shape)
    {
        using RingRig rig = new(shape, size: 8);
        int done = 0;
        while (done < 140_000)
        {
            int added = 0;
            while (rig.Driver.TryAdd([Readable], [Writable], out _)) added++;
            Assert.True(added > 0);
            rig.Driver.Publish();
            while (rig.Device.TryPop(out DescriptorChain? chain)) rig.Device.Push(chain, 7);
            rig.Device.Publish();
            for (int i = 0; i < added; i++) Assert.Equal(7u, rig.Collect().Written);
            done += added;
        }
        Assert.Equal(0, rig.Signals.NeedsReset);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Steady_state_allocates_nothing(RingShape shape)
    {
        using RingRig rig = new(shape, size: 64);
        GuestBuffer[] readable = [Readable, Readable, Readable], writable = [Writable, Writable];
        SteadyState.AllocatesNothing(() => Run(20_000));

        void Run(int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                while (rig.Driver.TryAdd(readable, writable, out _)) { }
                rig.Driver.Publish();
                rig.Device.Turn.Begin();
                rig.Device.DisableKicks();
                while (rig.Device.TryPop(out DescriptorChain? chain))
                {
                    ChainReader reader = chain.Readable;
                    reader.TryRead(out ulong header);
                    ChainWriter writer = chain.Writable;
                    writer.TryWrite(header);
                    rig.Device.Push(chain, sizeof(ulong));
                }
                rig.Device.Publish();
                rig.Device.EnableKicks();
                while (rig.Driver.TryCollect(out _)) { }
            }
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_batch_is_one_interrupt(RingShape shape)
    {
        using RingRig rig = new(shape);
        for (int i = 0; i < 4; i++) rig.Add([Readable], [Writable]);
        rig.Driver.Publish();
        rig.Driver.EnableInterrupts();
        while (rig.Device.TryPop(out DescriptorChain? chain)) rig.Device.Push(chain, 0);
        Assert.Equal(0, rig.Signals.Queue);
        rig.Device.Publish();
        rig.Device.Publish();
        Assert.Equal(1, rig.Signals.Queue);
        Assert.Equal(1, rig.Device.Statistics.Interrupts);
        Assert.Equal(4, rig.Device.Statistics.Requests);
        Assert.Equal(64, rig.Device.Statistics.Bytes);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void No_interrupt_while_the_driver_does_not_want_one(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Driver.DisableInterrupts();
        Serve();
        Assert.Equal(0, rig.Signals.Queue);
        Assert.True(rig.Driver.EnableInterrupts());
        rig.Collect();
        Assert.False(rig.Driver.EnableInterrupts());
        Serve();
        Assert.Equal(1, rig.Signals.Queue);

        void Serve()
        {
            rig.Add([Readable], []);
            rig.Driver.Publish();
            rig.Device.Push(rig.Pop(), 0);
            rig.Device.Publish();
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void The_driver_kicks_only_while_the_device_wants_it(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([Readable], []);
        Assert.True(rig.Driver.Publish());

        rig.Device.DisableKicks();
        rig.Device.Push(rig.Pop(), 0);
        rig.Add([Readable], []);
        Assert.False(rig.Driver.Publish());
        Assert.True(rig.Device.EnableKicks());

        rig.Device.Push(rig.Pop(), 0);
        Assert.False(rig.Device.EnableKicks());
        rig.Add([Readable], []);
        Assert.True(rig.Driver.Publish());
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_turn_ends_when_its_budget_is_used_up(RingShape shape)
    {
        using RingRig rig = new(shape);
        for (int i = 0; i < 5; i++) rig.Add([Readable], []);
        rig.Driver.Publish();
        rig.Device.Turn.ChainsMax = 3;
        rig.Device.Turn.Begin();
        for (int i = 0; i < 3; i++) rig.Device.Push(rig.Pop(), 0);
        Assert.False(rig.Device.TryPop(out _));
        Assert.Equal(0, rig.Device.Turn.ChainsLeft);
        Assert.True(rig.Device.EnableKicks());
        rig.Device.Turn.End();
        Assert.True(rig.Device.TryPop(out _));
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Quiet_is_announced_once_after_the_last_chain_is_published(RingShape shape)
    {
        using RingRig rig = new(shape);
        int quiet = 0;
        rig.Device.WhenQuiet(() => quiet++);
        Assert.Equal(1, quiet);
        rig.Add([Readable], []);
        rig.Add([Readable], []);
        rig.Driver.Publish();
        DescriptorChain first = rig.Pop(), second = rig.Pop();
        rig.Device.WhenQuiet(() => quiet++);
        rig.Device.Push(second, 0);
        rig.Device.Publish();
        Assert.Equal(1, quiet);
        rig.Device.Push(first, 0);
        Assert.Equal(1, quiet);
        rig.Device.Publish();
        rig.Device.Publish();
        Assert.Equal(2, quiet);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Pushing_a_chain_twice_or_into_another_queue_is_a_bug_of_the_device(RingShape shape)
    {
        using RingRig rig = new(shape);
        using RingRig other = new(shape);
        rig.Add([Readable], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.Throws<InvalidOperationException>(() => other.Device.Push(chain, 0));
        rig.Device.Push(chain, 0);
        Assert.Throws<InvalidOperationException>(() => rig.Device.Push(chain, 0));
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_queue_goes_on_where_its_predecessor_stopped(RingShape shape)
    {
        using RingRig rig = new(shape, size: 8);
        for (int i = 0; i < 13; i++) Serve(rig.Device);
        QueueConfiguration next = rig.Driver.Configuration() with { AvailBase = rig.Device.AvailBase, UsedBase = rig.Device.UsedBase };
        Assert.True(VirtQueue.TryCreate(next, rig.Memory, rig.Signals, out VirtQueue? successor, out _));
        for (int i = 0; i < 13; i++) Serve(successor);
        successor.Dispose();
        Assert.Equal(0, rig.Signals.NeedsReset);

        void Serve(VirtQueue device)
        {
            rig.Add([Readable], []);
            rig.Driver.Publish();
            Assert.True(device.TryPop(out DescriptorChain? chain));
            device.Push(chain, 0);
            device.Publish();
            rig.Collect();
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_device_fault_ends_the_queue_but_lets_chains_in_flight_come_back(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([Readable], []);
        rig.Add([Readable], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        rig.Device.Fault(new GuestFault(GuestFaultKind.Request, "a test"));
        rig.Device.Fault(new GuestFault(GuestFaultKind.BufferAddress, "another"));
        Assert.Equal(GuestFaultKind.Request, rig.Device.FirstFault.Kind);
        Assert.Equal(2, rig.Device.Statistics.Faults);
        Assert.Equal(1, rig.Signals.NeedsReset);
        Assert.False(rig.Device.TryPop(out _));
        rig.Device.Push(chain, 0);
        rig.Device.Publish();
        rig.Collect();
    }

    [Fact]
    public void Faults_go_to_whoever_asked_for_them_instead()
    {
        List<GuestFault> faults = [];
        using RingRig rig = new(new RingShape(false, false, false), configure: configuration => configuration with { OnFault = faults.Add });
        rig.Device.Fault(new GuestFault(GuestFaultKind.Request, "a test"));
        Assert.Equal(GuestFaultKind.Request, Assert.Single(faults).Kind);
        Assert.Equal(0, rig.Signals.NeedsReset);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_chain_that_stays_long_counts_long(RingShape shape)
    {
        using RingRig rig = new(shape, configure: configuration => configuration with { MeasureLatency = true });
        rig.Add([Readable], []);
        rig.Add([Readable], []);
        rig.Driver.Publish();
        DescriptorChain slow = rig.Pop();
        rig.Device.Publish();
        Thread.Sleep(20);
        rig.Device.Push(rig.Pop(), 0);
        rig.Device.Publish();
        rig.Device.Push(slow, 0);
        rig.Device.Publish();
        Assert.Equal(2, rig.Device.Statistics.Latency.Count);
        Assert.True(slow.PoppedAt > 0);
        Assert.InRange(rig.Device.Statistics.Latency.Max, 20_000_000, long.MaxValue);
        Assert.InRange(rig.Device.Statistics.Latency.Percentile(1), 1, rig.Device.Statistics.Latency.Max);
    }

    [Fact]
    public void Chains_of_more_batches_than_are_remembered_are_counted_all_the_same()
    {
        using RingRig rig = new(new RingShape(false, false, false), size: 256, configure: configuration => configuration with { MeasureLatency = true });
        for (int i = 0; i < 200; i++) rig.Add([Readable], []);
        rig.Driver.Publish();
        DescriptorChain[] chains = new DescriptorChain[200];
        for (int i = 0; i < chains.Length; i++)
        {
            chains[i] = rig.Pop();
            rig.Device.Publish();
        }
        foreach (DescriptorChain chain in chains) rig.Device.Push(chain, 0);
        rig.Device.Publish();
        Assert.Equal(200, rig.Device.Statistics.Latency.Count);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void Latency_is_measured_only_on_request(RingShape shape)
    {
        using RingRig rig = new(shape, configure: configuration => configuration with { MeasureLatency = true });
        using RingRig without = new(shape);
        foreach (RingRig each in (RingRig[])[rig, without])
        {
            each.Add([Readable], []);
            each.Driver.Publish();
            each.Device.Push(each.Pop(), 0);
            Assert.Equal(0, each.Device.Statistics.Latency.Count);
            each.Device.Publish();
            each.Device.Publish();
        }
        Assert.Equal(1, rig.Device.Statistics.Latency.Count);
        Assert.Equal(0, without.Device.Statistics.Latency.Count);
    }
}
