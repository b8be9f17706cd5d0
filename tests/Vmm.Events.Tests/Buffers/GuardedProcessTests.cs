using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Buffers;

/// <summary>
/// Buffer invariant A where breaking it is fatal: each buffer ends at a page without any access, and may not be touched at all once it was
/// released. A
/// process that does it dies; a kernel that does it answers EFAULT.
/// </summary>
[Collection(Alone.Name)]
public sealed class GuardedProcessTests
{
    private const string BehindTheEnd = "write behind the end";
    private const string AfterTheRelease = "read after the release";
    private const int Aborted = 128 + 6;
    private const int Fault = 14;

    private static readonly SlabPoolOptions Guarded = new() { GuardPages = true };

    /// <summary>That a stray access is seen at all, by us and by the kernel: without this the other test could not fail.</summary>
    [Fact]
    public void A_program_that_touches_what_it_may_not_dies_on_the_spot()
    {
        if (ChildTest.Task is { } task)
        {
            Touch(task);
            return;
        }
        foreach (string wrong in (string[])[BehindTheEnd, AfterTheRelease])
        {
            (int exitCode, string said) = ChildTest.Run<GuardedProcessTests>(wrong);
            Assert.True(exitCode == Aborted, $"{wrong}: exit code {exitCode}: {said}");
            Assert.Contains(nameof(AccessViolationException), said, StringComparison.Ordinal);
            Assert.Contains(nameof(Touch), said, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_buffer_that_the_kernel_still_has_and_that_is_unmapped_all_the_same_is_a_fault()
    {
        List<int> faults = [];
        using RingTable table = new(RingEngine.Kernel, options => Watched(options, faults), Guarded);
        (OwnedFd readEnd, FileStream writeEnd) = RingTable.Pipe();
        using RingFile pipe = table.Ring.Register(readEnd);
        SlabBuffer buffer = table.Pool.Rent(512);
        IoVectors vectors = new(1);
        vectors.Add(buffer.Block.Address, 512);
        RecordingRequest request = new();
        table.Ring.ReadV(request, pipe, IoRing.CurrentPosition, vectors);
        table.Ring.Flush();
        buffer.Release();
        writeEnd.Write([1]);
        table.RunUntil(() => request.Results.Count == 1);
        Assert.Equal([-Fault], request.Results);
        Assert.Equal([-Fault], faults);
        writeEnd.Dispose();
        readEnd.Dispose();
    }

    /// <summary>
    /// Operations of every kind that are abandoned, cancelled, awaited and torn down in any order, on memory where any slip is fatal.
    /// </summary>
    [Fact]
    public void Nothing_touches_the_buffers_of_operations_that_were_given_up()
    {
        if (ChildTest.Task is { } task)
        {
            string[] words = task.Split(' ');
            Storm(Enum.Parse<RingEngine>(words[0]), int.Parse(words[1], CultureInfo.InvariantCulture));
            return;
        }
        int seed = TestSeed.Take();
        foreach (RingEngine engine in (RingEngine[])[RingEngine.Kernel, RingEngine.Threads])
        {
            (int exitCode, string said) = ChildTest.Run<GuardedProcessTests>(FormattableString.Invariant($"{engine} {seed}"));
            Assert.True(exitCode == 0, $"{engine}, seed {seed}: exit code {exitCode}: {said}");
            Assert.Contains("Total: 1, Errors: 0, Failed: 0", said, StringComparison.Ordinal);
        }
    }

    private static RingOptions Watched(RingOptions options, List<int> faults) => options with
    {
        Scratch = Guarded,
        Decorate = engine => new WatchedEngine(engine, completion =>
        {
            if (completion.Result == -Fault) faults.Add(completion.Result);
        }),
    };

    private static void Touch(string task)
    {
        SlabPool pool = new(Guarded);
        SlabBuffer buffer = pool.Rent(4096);
        nint address = buffer.Block.Address;
        Marshal.WriteByte(address + buffer.Capacity - 1, 1);
        if (task == BehindTheEnd) Marshal.WriteByte(address + buffer.Capacity, 1);
        buffer.Release();
        if (task == AfterTheRelease) Marshal.ReadByte(address);
        // Still here: the parent sees an end without a signal.
    }

    private static void Storm(RingEngine engine, int seed)
    {
        Random random = new(seed);
        for (int life = 0; life < 10; life++)
        {
            List<int> faults = [];
            RingTable table = new(engine, options => Watched(options, faults), Guarded);
            using (GivenUpOperations operations = new(table, random))
            {
                for (int round = 0; round < 300; round++) operations.Step();
                // Every second ring ends with its operations in flight.
                if (life % 2 == 0) operations.Settle();
                table.Reactor.Dispose();
            }
            table.Dispose();
            Assert.Empty(faults);
        }
    }
}
