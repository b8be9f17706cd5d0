using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>Guest memory that is gone while a device uses it: its session ends, the process does not (SIGBUS).</summary>
[Trait("Device", "the front-end itself"), Trait("Rings", "any")]
public abstract class LostMemoryTests(PollerKind poller) : PollerSuite(poller)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    [Trait("Source", "memory that is truncated before a kick"), Trait("Outcome", "the session ends; its neighbour is served")]
    public void Memory_that_is_shortened_under_a_ring_ends_its_session_and_nothing_else()
    {
        using TemporaryImage image = new(sectors: 8), neighbourImage = new(sectors: 8);
        using ServedDevice neighbour = new(neighbourImage.OpenDevice());
        using DiskDriver good = new(neighbour.Connect());
        using ServedDevice served = new(image.OpenDevice(), allowUnsealed: true);
        for (int i = 0; i < 5; i++)
        {
            using SharedFile file = new("/dev/shm", DiskDriver.MemoryBytes);
            using (DiskDriver bad = new(served.Connect(), memory: MemoryOver(file)))
            {
                bad.WriteSector(0, 1);
                file.Resize(0);
                // The device reads the ring, which is not there any more.
                bad.Ring.Kick.Signal();
                AssertEnds(bad.Frontend);
                good.WriteSector(3, 9);
                // The driver's own mapping must have its pages back before the driver is disposed.
                file.Resize(DiskDriver.MemoryBytes);
            }
            HostileFrontEndTests.AssertNextIsServed(served);
        }
        Assert.Single(served.Log.Lines, line => line.Contains("its memory was shortened", StringComparison.Ordinal));
    }

    [Fact]
    [Trait("Source", "memory that is truncated while its request is read or written by the kernel"), Trait("Outcome", "I/O error")]
    public void Memory_that_is_gone_when_the_kernel_wants_it_fails_the_request()
    {
        using TemporaryImage image = new(sectors: 64);
        using ServedDevice served = new(image.OpenDevice(), allowUnsealed: true);
        using SharedFile rings = new("/dev/shm", DiskDriver.MemoryBytes);
        using SharedFile data = new("/dev/shm", 1 << 16);
        using GuestMemory memory = MemoryOver(rings);
        Assert.True(memory.TryAdd(RegionOver(data, DiskDriver.MemoryBytes, 1 << 16), out _));
        using (DiskDriver bad = new(served.Connect(), memory: memory))
        {
            data.Resize(0);
            Assert.Equal(1, bad.WriteFrom(DiskDriver.MemoryBytes, 4096));
        }
        HostileFrontEndTests.AssertNextIsServed(served);
    }

    /// <summary>memfd_create(MFD_HUGETLB) needs no privilege, and its pages need not exist: the first access would raise SIGBUS.</summary>
    [Fact]
    [Trait("Source", "a sealed memfd of huge pages (MFD_HUGETLB) that the host does not have"), Trait("Outcome", "refused")]
    public void Huge_pages_that_the_host_does_not_have_are_refused()
    {
        const ulong HugePage = 2 << 20;
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        ulong free = ulong.Parse(File.ReadLines("/proc/meminfo").First(line => line.StartsWith("HugePages_Free", StringComparison.Ordinal)).Split(' ')[^1]);
        ulong bytes = (free + 64) * HugePage;
        using OwnedFd huge = HugeMemory.CreateSealed(bytes);
        using (VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served))
        {
            HostileFrontEndTests.AssertRefused(frontend, VhostUserRequest.AddMemoryRegion,
                HostileFrontEndTests.Slot(new RegionDescription(0, bytes, 0, 4096)), [huge.Number]);
        }
        Assert.Contains(served.Log.Lines, line => line.Contains("free huge pages", StringComparison.Ordinal));
        HostileFrontEndTests.AssertNextIsServed(served);
    }

    /// <summary>A seal forbids to shorten the file, not to give its pages back; and what was reserved for the page is given back with it.</summary>
    [Fact]
    [Trait("Source", "a hole punched into sealed huge pages after they were mapped"), Trait("Outcome", "the session ends; its neighbour is served")]
    public void A_hole_in_huge_pages_that_no_free_page_fills_ends_its_session_and_nothing_else()
    {
        using HugePagePool pool = new();
        using TemporaryImage image = new(sectors: 8), neighbourImage = new(sectors: 8);
        using ServedDevice neighbour = new(neighbourImage.OpenDevice());
        using DiskDriver good = new(neighbour.Connect());
        using ServedDevice served = new(image.OpenDevice());
        for (int i = 0; i < 3; i++)
        {
            pool.Resize(1);
            using OwnedFd huge = HugeMemory.CreateSealed(HugePagePool.PageBytes);
            using GuestMemory memory = new();
            Assert.True(GuestRegion.TryMap(huge.Duplicate(), new RegionLayout(0, HugePagePool.PageBytes), out GuestRegion? region, out string? refusal), refusal);
            Assert.True(memory.TryAdd(region, out _));
            using DiskDriver bad = new(served.Connect(), memory: memory);
            bad.WriteSector(0, 1);
            HugeMemory.PunchHole(huge, HugePagePool.PageBytes);
            pool.Resize(0);
            // The device reads the ring, whose page is not there any more.
            bad.Ring.Kick.Signal();
            AssertEnds(bad.Frontend);
            good.WriteSector(3, 9);
            // The driver looks at its own mapping when it is disposed.
            pool.Resize(1);
        }
        HostileFrontEndTests.AssertNextIsServed(served);
    }

    [Fact]
    public void Slots_of_the_guard_are_used_again()
    {
        using EventFd lost = new();
        int first = BusErrorGuard.Protect(1 << 20, 4096, lost), second = BusErrorGuard.Protect(2 << 20, 4096, lost);
        Assert.NotEqual(-1, first);
        Assert.NotEqual(first, second);
        BusErrorGuard.Release(first);
        BusErrorGuard.Release(second);
        Assert.False(lost.TryRead(out _));
    }

    private static GuestMemory MemoryOver(SharedFile file)
    {
        GuestMemory memory = new();
        Assert.True(memory.TryAdd(RegionOver(file, 0, DiskDriver.MemoryBytes), out _));
        return memory;
    }

    private static GuestRegion RegionOver(SharedFile file, ulong address, ulong bytes)
    {
        Assert.True(GuestRegion.TryMap(file.Duplicate(), new RegionLayout(address, bytes), out GuestRegion? region, out string? refusal), refusal);
        return region;
    }

    private static void AssertEnds(VhostUserFrontend frontend)
    {
        Assert.True(frontend.Socket.WaitReadable((int)Patience.TotalMilliseconds), "the session goes on");
        Assert.Throws<VhostUserException>(() => frontend.Ask(VhostUserRequest.GetFeatures));
    }
}

/// <summary>The huge pages of the host, of which nothing else uses any. Needs root; gives all of them back.</summary>
internal sealed class HugePagePool : IDisposable
{
    internal const ulong PageBytes = 2 << 20;

    private const string Count = "/proc/sys/vm/nr_hugepages";

    internal HugePagePool()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists(Count) && File.ReadAllText(Count).Trim() == "0",
            "huge pages can be set aside by root only, and are not where this host has some set aside already");
    }

    internal void Resize(int pages)
    {
        string wanted = pages.ToString(System.Globalization.CultureInfo.InvariantCulture);
        File.WriteAllText(Count, wanted);
        Assert.SkipUnless(File.ReadAllText(Count).Trim() == wanted, "the host has no memory for a huge page");
    }

    public void Dispose() => File.WriteAllText(Count, "0");
}

/// <summary>Memory of huge pages.</summary>
internal static partial class HugeMemory
{
    private const uint MFD_HUGETLB = 4;

    internal static OwnedFd CreateSealed(ulong bytes)
    {
        OwnedFd file = new(MemoryCalls.MemfdCreate("huge", MemoryCalls.MFD_CLOEXEC | MemoryCalls.MFD_ALLOW_SEALING | MFD_HUGETLB));
        Assert.Equal(0, MemoryCalls.Truncate(file.Number, (long)bytes));
        Assert.Equal(0, MemoryCalls.Fcntl(file.Number, MemoryCalls.F_ADD_SEALS, MemoryCalls.F_SEAL_SHRINK | MemoryCalls.F_SEAL_GROW));
        return file;
    }

    internal static void PunchHole(OwnedFd file, ulong bytes)
    {
        const int KeepSizeAndPunchHole = 3;
        Assert.Equal(0, Allocate(file.Number, KeepSizeAndPunchHole, 0, (long)bytes));
    }

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(int fd, int mode, long offset, long length);
}

[Collection(Alone.Name)]
public sealed class LostMemoryOnEpollTests() : LostMemoryTests(PollerKind.Epoll);

[Collection(Alone.Name)]
public sealed class LostMemoryOnIoRingTests() : LostMemoryTests(PollerKind.IoRing);
