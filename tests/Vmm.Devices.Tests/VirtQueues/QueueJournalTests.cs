using Moq;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>When a queue reports to its in-flight log, stepped: what the driver sees at each report.</summary>
public sealed class QueueJournalTests
{
    /// <summary>
    /// A log that lets go of a chain before the driver sees it as used loses it if the process is killed between the two stores; one that is not
    /// warned before loses it as well.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_log_lets_go_of_chains_after_the_driver_sees_them_as_used(bool packed)
    {
        List<string> reports = [];
        RingRig? rig = null;
        Mock<IQueueJournal> journal = new();
        journal.Setup(log => log.Publishing(It.IsAny<ushort>())).Callback(() => reports.Add($"publishing, used {rig!.Driver.HasUsed}"));
        journal.Setup(log => log.Published(It.IsAny<ushort>())).Callback(() => reports.Add($"published, used {rig!.Driver.HasUsed}"));
        using (rig = new RingRig(new RingShape(packed, EventIndex: false, Indirect: false), configure: ring => ring with { Journal = journal.Object }))
        {
            rig.Add([new GuestBuffer(RingRig.BufferStart, 64)], []);
            rig.Driver.Publish();
            Assert.True(rig.Device.TryPop(out DescriptorChain? chain));
            rig.Device.Push(chain, 0);
            Assert.Empty(reports);
            rig.Device.Publish();
        }
        Assert.Equal(["publishing, used False", "published, used True"], reports);
    }
}
