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
        ReportingJournal journal = new(what => reports.Add($"{what}, used {rig!.Driver.HasUsed}"));
        using (rig = new RingRig(new RingShape(packed, EventIndex: false, Indirect: false), configure: ring => ring with { Journal = journal }))
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

    /// <summary>A journal with nothing to take again, which reports what it learns of publishing.</summary>
    private sealed class ReportingJournal(Action<string> report) : IQueueJournal
    {
        public int Retaken => 0;

        public int RetakenDescriptors => 0;

        public RetakenChain Retake() => throw new InvalidOperationException("there is none");

        public void PutBack(ushort name)
        {
        }

        public void Taking()
        {
        }

        public void Add(Descriptor descriptor)
        {
        }

        public ushort Taken(ushort id) => id;

        public void Abandon()
        {
        }

        public void NotTaken(ushort name)
        {
        }

        public void GivenBack(ushort name)
        {
        }

        public void Publishing(ushort usedBase) => report("publishing");

        public void Published(ushort usedBase) => report("published");
    }
}
