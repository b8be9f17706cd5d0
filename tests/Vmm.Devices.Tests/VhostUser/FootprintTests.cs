using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// What a served disk and a connected front-end keep of the server's memory: a process serves thousands of disks with the 64 queues of
/// the default, of which a guest uses one or two. Allocated bytes, garbage included: an idle server collects none, and so keeps it too.
/// </summary>
public sealed class FootprintTests
{
    private const int Queues = 64;
    private const long DiskBytesMax = 10 << 10, FrontEndBytesMax = 56 << 10;

    [Fact]
    public void A_further_disk_without_a_guest()
    {
        using TemporaryImage image = new(sectors: 64);
        using Reactor reactor = new();
        string directory = Directory.CreateTempSubdirectory("vmm-footprint-").FullName;
        Serve("warm");
        // What each disk allocates is in all three; what the runtime allocates once is not.
        Assert.InRange(Enumerable.Range(0, 3).Min(i => Serve($"measured{i}")), 1, DiskBytesMax);
        Directory.Delete(directory, recursive: true);

        long Serve(string name)
        {
            IBlockBackend backend = RawImage.Open(image.Path, readOnly: true);
            long before = GC.GetAllocatedBytesForCurrentThread();
            BlockDevice disk = new("vda", backend, new DiskSpec { Queues = Queues });
            VhostUserBackend served = new(disk, Path.Combine(directory, name), reactor);
            long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
            served.Dispose();
            disk.Dispose();
            return bytes;
        }
    }

    [Fact]
    public void A_connected_front_end_whose_driver_uses_one_queue()
    {
        using TemporaryImage image = new(sectors: 64);
        // All on the reactor's thread: what other threads allocate for a front-end counts, and its end is over when the next one comes.
        static Task MakeHere(Action call)
        {
            call();
            return Task.CompletedTask;
        }
        using ServedDevice served = new(image.OpenDevice(Queues), slowCalls: MakeHere);
        Use();
        Assert.InRange(Use(), 1, FrontEndBytesMax);

        long Use()
        {
            long before = Allocated();
            using DiskDriver disk = new(served.Connect(), ringSize: 128);
            disk.WriteSector(0, 1);
            return Allocated() - before;
        }

        long Allocated() => served.Remote.InvokeAsync(_ => GC.GetAllocatedBytesForCurrentThread()).Result;
    }
}
