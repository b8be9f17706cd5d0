using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>A ring whose reactor is run by one thread and disposed by another.</summary>
public sealed class RingOnThreadTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void What_is_in_flight_when_the_run_ends_is_cancelled_and_another_thread_may_dispose(RingEngine engine)
    {
        using SlabPool pool = new();
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        RingOperation<BufferResult> reading = default;
        ReactorThread thread = new();
        thread.Start();
        thread.Remote.Invoke(reactor =>
        {
            IoRing ring = new(reactor, new RingOptions { Engine = engine });
            reading = ring.Read(ring.Register(readEnd), pool.Rent(512));
            ring.Flush();
        }, ReactorSuite.Patience, TestContext.Current.CancellationToken);
        thread.Dispose();
        BufferResult read = reading.GetAwaiter().GetResult();
        Assert.True(read.Result.IsCanceled, $"{read.Result}");
        read.Buffer.Release();
        writeEnd.Dispose();
        readEnd.Dispose();
    }
}
