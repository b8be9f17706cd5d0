using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>As <see cref="InflightTests"/>, for packed rings: the descriptors of what was taken are gone from the ring, and are in the log.</summary>
public sealed class PackedInflightTests() : InflightSuite(packed: true)
{
    private const int UsedOffset = 16, OldUsedOffset = 18, FreeHeadOffset = 12, OldFreeHeadOffset = 14, WrapsOffset = 20, EntriesOffset = 32, EntryBytes = 32;

    [Fact]
    public void What_was_taken_and_not_given_back_is_taken_again_in_its_order_with_its_buffers()
    {
        ushort[] added = [Add(1), Add(2), Add(1), Add(3)];
        VirtQueue first = Serve();
        DescriptorChain[] chains = [Pop(first), Pop(first), Pop(first)];
        // Its used entry overwrites the descriptor of the first chain, which is still in flight.
        first.Push(chains[1], 0);
        first.Publish();

        VirtQueue second = Serve();
        Assert.Equal([(added[0], 16UL), (added[2], 16UL), (added[3], 48UL)], PopAll(second).Select(chain => (chain.Id, chain.ReadableLength)));
        Assert.Equal([added[1]], Collect());
    }

    [Fact]
    public void What_was_given_back_but_not_published_is_taken_again()
    {
        ushort[] added = [Add(1), Add(2)];
        VirtQueue first = Serve();
        DescriptorChain[] chains = [Pop(first), Pop(first)];
        first.Push(chains[1], 0);
        first.Push(chains[0], 0);
        Assert.Equal(added, PopAll(Serve()).Select(chain => chain.Id));
        Assert.Empty(Collect());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_death_while_a_batch_is_published_shows_it_once_or_takes_it_again(bool driverSees)
    {
        ushort[] added = [Add(2), Add(1), Add(1)];
        VirtQueue first = Serve();
        DescriptorChain[] chains = [Pop(first), Pop(first), Pop(first)];
        first.Push(chains[2], 0);
        first.Push(chains[0], 0);
        (byte[] log, byte[] ring) = (ReadLog(), ReadRing());
        first.Publish();
        // As it was when the new place was noted: before the ring's flags, or between these and the rest of the log.
        WriteLog(WithUsedOf(log, ReadLog()));
        if (!driverSees) WriteRing(ring);

        VirtQueue second = Serve();
        Assert.Equal(driverSees ? [added[1]] : added, PopAll(second).Select(chain => chain.Id));
        Assert.Equal(driverSees ? [added[2], added[0]] : [], Collect());
    }

    [Fact]
    public void A_chain_taken_while_others_wait_to_be_published_does_not_take_their_place()
    {
        // As many as the log has entries: the next one can only go where one was given back.
        ushort[] added = [.. Enumerable.Range(0, Size).Select(_ => Add(1))];
        VirtQueue first = Serve();
        List<DescriptorChain> chains = [.. PopAll(first)];
        first.Push(chains[0], 0);
        first.Publish();
        Assert.Equal([added[0]], Collect());
        first.Push(chains[1], 0);
        ushort last = Add(1);
        Assert.Equal(last, Pop(first).Id);
        // What waits to be published is still in flight for whoever comes.
        Assert.Equal([.. added[1..], last], PopAll(Serve()).Select(chain => chain.Id));
    }

    [Fact]
    public void A_chain_that_was_put_back_is_taken_from_the_ring_again()
    {
        ushort[] added = [Add(2), Add(1)];
        VirtQueue first = Serve();
        DescriptorChain kept = Pop(first);
        first.Unpop(Pop(first));
        Assert.Equal(added, PopAll(Serve()).Select(chain => chain.Id));
        Assert.Equal(added[0], kept.Id);
    }

    [Fact]
    public void A_log_full_of_noise_is_refused_or_gives_what_the_ring_can_have()
    {
        Random random = new(7);
        int refused = 0;
        for (int i = 0; i < 500; i++)
        {
            byte[] noise = ReadLog();
            random.NextBytes(noise);
            BinaryPrimitives.WriteUInt16LittleEndian(noise.AsSpan(8), 1);
            BinaryPrimitives.WriteUInt16LittleEndian(noise.AsSpan(10), Size);
            for (int at = FreeHeadOffset; at < WrapsOffset; at += 2) BinaryPrimitives.WriteUInt16LittleEndian(noise.AsSpan(at), (ushort)random.Next(Size + 1));
            for (int entry = 0; entry < Size; entry++)
            {
                // Mostly in range, so that more than the first check is reached.
                Span<byte> fields = noise.AsSpan(EntriesOffset + entry * EntryBytes);
                BinaryPrimitives.WriteUInt16LittleEndian(fields, (ushort)random.Next(2));
                for (int at = 2; at < 8; at += 2) BinaryPrimitives.WriteUInt16LittleEndian(fields[at..], (ushort)random.Next(Size + 1));
            }
            WriteLog(noise);
            Assert.True(Region.TryGetLog(0, out PackedInflightLog? log));
            if (!log.TryRecover(new PackedPosition(PackedPosition.StartBits), Size, FlagsAt, out PackedPosition used, out PackedPosition available))
            {
                refused++;
                continue;
            }
            Assert.InRange(log.RetakenDescriptors, 0, Size);
            Assert.InRange(used.Index, 0, Size - 1);
            Assert.InRange(available.Index, 0, Size - 1);
            while (log.Retaken > 0) Assert.InRange(log.Retake().Descriptors.Length, 1, Size);
        }
        Assert.InRange(refused, 1, 499);
    }

    /// <summary>An older log with the place up to which the newer one says that the ring was given back.</summary>
    private static byte[] WithUsedOf(byte[] older, byte[] newer)
    {
        newer.AsSpan(UsedOffset, sizeof(ushort)).CopyTo(older.AsSpan(UsedOffset));
        older[WrapsOffset] = newer[WrapsOffset];
        return older;
    }

    /// <summary>Takes the ring over as a back-end does that nobody can tell where the one before was.</summary>
    private protected override VirtQueue Serve()
    {
        Assert.True(Region.TryGetLog(0, out PackedInflightLog? log));
        Assert.True(log.TryRecover(new PackedPosition(PackedPosition.StartBits), Size, FlagsAt, out PackedPosition used, out PackedPosition available));
        QueueConfiguration configuration = Driver.Configuration() with { AvailBase = available.Bits, UsedBase = used.Bits, Journal = log };
        Assert.True(VirtQueue.TryCreate(configuration, Memory, new SignalCounter(), out VirtQueue? queue, out _));
        return queue;
    }

    private protected override void PublishInPart(VirtQueue device, Random random)
    {
        (byte[] log, byte[] ring) = (ReadLog(), ReadRing());
        device.Publish();
        WriteLog(WithUsedOf(log, ReadLog()));
        if (random.Next(2) == 0) WriteRing(ring);
    }

    private ushort FlagsAt(PackedPosition position)
    {
        byte[] flags = new byte[sizeof(ushort)];
        Assert.True(Memory.TryRead(Driver.DescriptorTable + position.FlagsOffset, flags));
        return BitConverter.ToUInt16(flags);
    }

    private byte[] ReadRing()
    {
        byte[] ring = new byte[Size * 16];
        Assert.True(Memory.TryRead(Driver.DescriptorTable, ring));
        return ring;
    }

    private void WriteRing(byte[] ring) => Assert.True(Memory.TryWrite(Driver.DescriptorTable, ring));
}
