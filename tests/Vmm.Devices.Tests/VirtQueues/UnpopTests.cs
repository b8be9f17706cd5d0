using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Chains that are put back as if they had not been taken.</summary>
public sealed class UnpopTests
{
    public static TheoryData<RingShape> Shapes => RingShape.All();

    [Theory]
    [MemberData(nameof(Shapes))]
    public void What_was_put_back_is_taken_again_in_order_lap_after_lap(RingShape shape)
    {
        using RingRig rig = new(shape, size: 8);
        Random random = new(3);
        Queue<ushort> available = [];
        for (int round = 0; round < 500; round++)
        {
            while (rig.Driver.Free >= 3 && available.Count < 4 && random.Next(3) > 0)
                available.Enqueue(rig.Add([new GuestBuffer(RingRig.BufferStart, 16)], [new GuestBuffer(RingRig.BufferStart + 64, 16), new GuestBuffer(RingRig.BufferStart + 128, 16)]));
            rig.Driver.Publish();
            List<DescriptorChain> taken = [];
            while (taken.Count < random.Next(5) && rig.Device.TryPop(out DescriptorChain? chain)) taken.Add(chain);
            int kept = random.Next(taken.Count + 1);
            for (int i = taken.Count - 1; i >= kept; i--) rig.Device.Unpop(taken[i]);
            foreach (DescriptorChain chain in taken.Take(kept)) rig.Device.Push(chain, 7);
            rig.Device.Publish();
            for (int i = 0; i < kept; i++) Assert.Equal(new UsedChain(available.Dequeue(), 7), rig.Collect());
            Assert.Equal((0, available.Count), (rig.Device.InFlight, rig.Driver.InFlight));
        }
        Assert.Equal(GuestFaultKind.None, rig.Device.FirstFault.Kind);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void A_base_asked_for_after_is_that_of_before(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([new GuestBuffer(RingRig.BufferStart, 16)], []);
        rig.Driver.Publish();
        ushort before = rig.Device.AvailBase;
        rig.Device.Unpop(rig.Pop());
        Assert.Equal(before, rig.Device.AvailBase);
    }

    [Fact]
    public void A_chain_that_was_given_back_cannot_be_put_back()
    {
        using RingRig rig = new(new RingShape(false, false, false));
        rig.Add([new GuestBuffer(RingRig.BufferStart, 16)], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        rig.Device.Push(chain, 0);
        Assert.Throws<InvalidOperationException>(() => rig.Device.Unpop(chain));
    }
}
