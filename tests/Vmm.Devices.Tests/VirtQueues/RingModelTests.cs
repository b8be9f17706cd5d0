using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Random drivers against a device that answers each request with a function of it: nothing may be lost, mixed up or cut off.</summary>
public sealed class RingModelTests
{
    private const int PayloadMax = 600;

    public static TheoryData<RingShape, int> ShapesAndSeeds()
    {
        TheoryData<RingShape, int> rows = [];
        foreach (TheoryDataRow<RingShape> shape in RingShape.All())
        {
            for (int seed = 1; seed <= 4; seed++) rows.Add(shape.Data, seed);
        }
        return rows;
    }

    [Theory, MemberData(nameof(ShapesAndSeeds))]
    public void Random_chains_cut_at_random_places_come_back_right(RingShape shape, int seed)
    {
        Random random = new(seed);
        ushort size = shape.Packed ? (ushort)random.Next(3, 60) : (ushort)(1 << random.Next(2, 6));
        using RingRig rig = new(shape, size);
        List<DescriptorChain> popped = [];
        Dictionary<ushort, Expectation> waiting = [];
        int completed = 0;
        for (int step = 0; step < 4_000; step++)
        {
            switch (random.Next(6))
            {
                case 0 or 1: AddSome(rig, random, waiting); break;
                case 2: rig.Driver.Publish(); break;
                case 3: while (popped.Count < size && rig.Device.TryPop(out DescriptorChain? chain)) popped.Add(chain); break;
                case 4: AnswerSome(rig.Device, random, popped); break;
                default: completed += CollectSome(rig, waiting); break;
            }
            Assert.Equal(popped.Count, rig.Device.InFlight);
            Assert.Equal(GuestFaultKind.None, rig.Device.FirstFault.Kind);
        }
        Assert.True(completed > 100, $"only {completed} came back");
    }

    private static void AddSome(RingRig rig, Random random, Dictionary<ushort, Expectation> waiting)
    {
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            rig.Driver.UseIndirect = random.Next(2) == 0;
            byte[] payload = new byte[random.Next(1, PayloadMax)];
            random.NextBytes(payload);
            int room = random.Next(0, PayloadMax);
            // A slot's buffers are its own until it is collected, so that chains can't see each other's.
            int slot = Enumerable.Range(0, 1024).First(candidate => waiting.Values.All(other => other.Slot != candidate));
            ulong start = RingRig.BufferStart + (ulong)slot * 2048;
            int buffersMax = Math.Max(1, Math.Min(rig.Driver.Size / 2, 8));
            GuestBuffer[] readable = Cut(random, start, payload.Length, buffersMax);
            GuestBuffer[] writable = room == 0 ? [] : Cut(random, start + 1024, room, buffersMax);
            Assert.True(rig.Memory.TryWrite(start, payload));
            if (!rig.Driver.TryAdd(readable, writable, out ushort id)) return;
            waiting.Add(id, new Expectation(slot, start + 1024, Answer(payload, room)));
        }
    }

    private static void AnswerSome(VirtQueue device, Random random, List<DescriptorChain> popped)
    {
        for (int i = random.Next(0, 4); i > 0 && popped.Count > 0; i--)
        {
            int which = random.Next(popped.Count);
            DescriptorChain chain = popped[which];
            popped.RemoveAt(which);
            byte[] payload = new byte[chain.ReadableLength];
            Assert.True(chain.Readable.TryRead(payload));
            byte[] answer = Answer(payload, (int)chain.WritableLength);
            Assert.Equal(answer.Length, chain.Writable.CopyFrom(answer));
            device.Push(chain, (uint)answer.Length);
        }
        if (random.Next(3) > 0) device.Publish();
    }

    private static int CollectSome(RingRig rig, Dictionary<ushort, Expectation> waiting)
    {
        int count = 0;
        for (; rig.Driver.TryCollect(out UsedChain used); count++)
        {
            Assert.True(waiting.Remove(used.Id, out Expectation? expected));
            Assert.Equal((uint)expected.Answer.Length, used.Written);
            byte[] answer = new byte[used.Written];
            Assert.True(rig.Memory.TryRead(expected.Address, answer));
            Assert.Equal(expected.Answer, answer);
        }
        return count;
    }

    /// <summary>What the device answers: as many bytes as there is room for, each depending on all of the request before it.</summary>
    private static byte[] Answer(byte[] payload, int room)
    {
        byte[] answer = new byte[room];
        byte sum = 17;
        for (int i = 0; i < room; i++) answer[i] = sum = (byte)(sum * 31 + payload[i % payload.Length]);
        return answer;
    }

    private static GuestBuffer[] Cut(Random random, ulong start, int length, int buffersMax)
    {
        List<GuestBuffer> buffers = [];
        int at = 0;
        while (at < length)
        {
            int piece = buffers.Count == buffersMax - 1 ? length - at : random.Next(0, length - at + 1);
            buffers.Add(new GuestBuffer(start + (ulong)at, (uint)piece));
            at += piece;
        }
        return [.. buffers];
    }

    private sealed record Expectation(int Slot, ulong Address, byte[] Answer);
}
