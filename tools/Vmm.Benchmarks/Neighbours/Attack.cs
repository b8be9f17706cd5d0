using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;

namespace Vmm.Benchmarks;

/// <summary>What a hostile front-end does to a device's socket, again and again: connects, does harm, goes.</summary>
/// <param name="Name">On the command line.</param>
/// <param name="What">In the table.</param>
/// <param name="Step">One visit at a socket. A back-end that refuses it or hangs up is what it must bear.</param>
/// <param name="NeedsUnsealed">Whether it works only where unsealed memory is allowed.</param>
/// <param name="OnConsole">Whether the device is the console and not the disk.</param>
internal sealed record Attack(string Name, string What, Action<string> Step, bool NeedsUnsealed = false, bool OnConsole = false)
{
    private const ulong Page = 4096, Piece = 1UL << 34, HugePage = 2 << 20;
    private const int TinyRegions = 500, Requests = 64, Rounds = 20;
    private const ushort QueueSize = 128;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), AnswerMax = TimeSpan.FromMilliseconds(200);

    internal static IReadOnlyList<Attack> All { get; } =
    [
        new("connections", "connects, negotiates and goes", path => Repeat(50, () => Visit(path, _ => { }))),
        new("requests", "sends requests and reads no reply", Flood),
        new("addresses", "maps all memory it can", path => Visit(path, MapAll)),
        new("regions", "500 regions of a page", path => Visit(path, frontend => AddTiny(frontend, TinyRegions, Page))),
        new("tables", "other memory tables all the time", path => Visit(path, ChangeTables)),
        new("descriptors", "a kick, a call and an error descriptor for each of 64 rings", path => Visit(path, SendDescriptors)),
        new("huge-pages", "sealed huge pages that are not there", path => Repeat(20, () => Visit(path, AddHugePages))),
        new("slow-file", "memory in a file of a disk's file system", path => Repeat(20, () => Visit(path, AddSlowFile))),
        new("pieces", "64 requests in flight of 1,024 buffers of a byte",
            path => Visit(path, frontend => ReadInPieces(frontend, overlaps: 2))),
        new("too-many-pieces", "requests of 50,000 pieces",
            path => Repeat(10, () => Visit(path, frontend => ReadInPieces(frontend, overlaps: 100)))),
        new("zeroes", "64 requests in flight to write zeroes over the whole disk, which its file system cannot do by itself",
            path => Visit(path, WriteZeroes)),
        new("single-bytes", "output in buffers of a byte", path => Visit(path, PrintSingleBytes), OnConsole: true),
        new("shortened", "memory that is shortened under its ring", path => Visit(path, Shorten), NeedsUnsealed: true),
    ];

    private static void Repeat(int times, Action action)
    {
        for (int i = 0; i < times; i++) action();
    }

    private static void Visit(string path, Action<VhostUserFrontend> harm)
    {
        using VhostUserFrontend frontend = VhostUserFrontend.Connect(path, Patience);
        try
        {
            frontend.Negotiate(VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex);
            harm(frontend);
        }
        catch (VhostUserException)
        {
            // Refused, or thrown out.
        }
    }

    private static void Flood(string path) => Visit(path, frontend =>
    {
        byte[] request = new byte[VhostUserHeader.Bytes];
        VhostUserHeader.ForRequest((uint)VhostUserRequest.GetFeatures, 0, needsReply: false).Write(request);
        Errno errno;
        do frontend.Socket.Send(request, [], out errno);
        while (errno == Errno.None || (errno == Errno.Again && frontend.Socket.WaitWritable(20)));
    });

    private static void MapAll(VhostUserFrontend frontend)
    {
        using GuestRegion sparse = GuestRegion.Create(0, GuestRegion.LengthMax);
        for (ulong at = 0; at < GuestRegion.LengthMax; at += Piece)
            Add(frontend, sparse.File.Number, new RegionDescription(at, Piece, at, (1UL << 46) + at));
    }

    private static void AddTiny(VhostUserFrontend frontend, int count, ulong bytes)
    {
        using GuestRegion page = GuestRegion.Create(0, Page);
        for (ulong i = 0; i < (ulong)count; i++)
            Add(frontend, page.File.Number, new RegionDescription(TinyStart + (i * bytes), bytes, 0, (1UL << 46) + (i * Page)));
    }

    private static void ChangeTables(VhostUserFrontend frontend)
    {
        using GuestMemory one = Eight(0), other = Eight(1UL << 30);
        for (int i = 0; i < 50; i++) frontend.ShareMemory(i % 2 == 0 ? one : other);
    }

    private static GuestMemory Eight(ulong start)
    {
        GuestMemory memory = new();
        for (ulong i = 0; i < 8; i++) memory.TryAdd(GuestRegion.Create(start + (i << 20), 1 << 20), out _);
        return memory;
    }

    private static void SendDescriptors(VhostUserFrontend frontend)
    {
        using EventFd fd = new();
        for (int ring = 0; ring < frontend.QueuesMax; ring++)
        {
            foreach (VhostUserRequest request in (VhostUserRequest[])[VhostUserRequest.SetVringCall,
                VhostUserRequest.SetVringError, VhostUserRequest.SetVringKick])
                frontend.Do(request, VhostUserFrontend.RingWord((uint)ring), [fd.Number]);
        }
    }

    private static void AddHugePages(VhostUserFrontend frontend)
    {
        const uint MFD_HUGETLB = 4;
        ulong free = ulong.Parse(File.ReadLines("/proc/meminfo")
            .First(line => line.StartsWith("HugePages_Free", StringComparison.Ordinal)).Split(' ')[^1],
            CultureInfo.InvariantCulture);
        ulong bytes = (free + 64) * HugePage;
        using OwnedFd huge = new(MemoryCalls.MemfdCreate("huge", MemoryCalls.MFD_CLOEXEC | MemoryCalls.MFD_ALLOW_SEALING | MFD_HUGETLB));
        if (MemoryCalls.Truncate(huge.Number, (long)bytes) != 0
            || MemoryCalls.Fcntl(huge.Number, MemoryCalls.F_ADD_SEALS, MemoryCalls.F_SEAL_SHRINK) != 0)
            throw new KernelException("cannot make memory of huge pages", CallResult.LastError);
        Add(frontend, huge.Number, new RegionDescription(0, bytes, 0, Page));
    }

    private static void AddSlowFile(VhostUserFrontend frontend)
    {
        using SafeFileHandle file = Unnamed(AppContext.BaseDirectory, Page);
        Add(frontend, (int)file.DangerousGetHandle(), new RegionDescription(0, Page, 0, Page));
    }

    /// <summary>Reads of sectors into buffers that each lie over regions of a byte.</summary>
    private static void ReadInPieces(VhostUserFrontend frontend, int overlaps)
    {
        using GuestMemory memory = GuestMemory.Create(TinyStart);
        frontend.AddRegion(memory.Regions[0]);
        AddTiny(frontend, TinyRegions, 1);
        GuestAllocator allocator = new(0, TinyStart);
        using DriverQueue queue = DriverQueue.Create(memory, allocator, QueueSize, frontend.Features);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        ulong header = allocator.Allocate(16), status = allocator.Allocate(1);
        // 2 x 500 and 24 bytes are two sectors. The table's buffers are the device's to check, so the driver's side does not look at them.
        GuestBuffer[] writable =
            [.. Enumerable.Repeat(new GuestBuffer(TinyStart, TinyRegions), overlaps), new(TinyStart, 24), new(status, 1)];
        SendManyTimes(queue, ring, [new GuestBuffer(header, 16)], writable);
    }

    private static void WriteZeroes(VhostUserFrontend frontend)
    {
        using GuestMemory memory = GuestMemory.Create(TinyStart);
        frontend.AddRegion(memory.Regions[0]);
        GuestAllocator allocator = new(0, TinyStart);
        using DriverQueue queue = DriverQueue.Create(memory, allocator, QueueSize, frontend.Features);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        ulong request = allocator.Allocate(32), status = allocator.Allocate(1);
        // The type, and behind the header the number of sectors from 0 on.
        byte[] bytes = new byte[32];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)BlockRequestType.WriteZeroes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(24), (uint)(ServedDisks.DiskBytes / BlockProtocol.SectorSize));
        memory.TryWrite(request, bytes);
        SendManyTimes(queue, ring, [new GuestBuffer(request, 32)], [new GuestBuffer(status, 1)]);
    }

    private static void PrintSingleBytes(VhostUserFrontend frontend)
    {
        using GuestMemory memory = GuestMemory.Create(TinyStart);
        frontend.AddRegion(memory.Regions[0]);
        GuestAllocator allocator = new(0, TinyStart);
        using DriverQueue queue = DriverQueue.Create(memory, allocator, QueueSize, frontend.Features);
        using VhostUserRing ring = frontend.StartRing(ConsoleProtocol.TransmitQueueOf(0), queue);
        // The same byte each time: buffers that lie one behind the other would be one piece.
        SendManyTimes(queue, ring, [.. Enumerable.Repeat(new GuestBuffer(allocator.Allocate(1), 1), QueueSize)], []);
    }

    /// <summary>Has as many equal requests in flight as there may be, some rounds long.</summary>
    private static void SendManyTimes(DriverQueue queue, VhostUserRing ring, GuestBuffer[] readable, GuestBuffer[] writable)
    {
        for (int round = 0; round < Rounds; round++)
        {
            int added = 0;
            while (added < Requests && queue.TryAdd(readable, writable, out _)) added++;
            ring.PublishAndKick();
            for (int collected = 0; collected < added;)
            {
                if (queue.TryCollect(out _)) collected++;
                // A device that asks for a reset answers nothing any more.
                else if (!SpinWait.SpinUntil(() => queue.HasUsed, AnswerMax)) return;
            }
        }
    }

    private static void Shorten(VhostUserFrontend frontend)
    {
        const ulong Bytes = 1 << 20;
        using SafeFileHandle file = Unnamed("/dev/shm", Bytes);
        OwnedFd borrowed = new((int)file.DangerousGetHandle());
        using GuestMemory memory = new();
        if (!GuestRegion.TryMap(borrowed.Duplicate(), new RegionLayout(0, Bytes), out GuestRegion? region, out string? refusal))
            throw new IOException(refusal);
        borrowed.SetHandleAsInvalid();
        memory.TryAdd(region, out _);
        frontend.ShareMemory(memory);
        using DriverQueue queue = DriverQueue.Create(memory, new GuestAllocator(0, Bytes), 16, frontend.Features);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        RandomAccess.SetLength(file, 0);
        ring.Kick.Signal();
        frontend.Socket.WaitReadable((int)Patience.TotalMilliseconds);
        RandomAccess.SetLength(file, (long)Bytes);
    }

    private const ulong TinyStart = 4 << 20;

    private static void Add(VhostUserFrontend frontend, int fd, RegionDescription layout)
    {
        byte[] slot = new byte[MessageShape.SlotBytes];
        Span<byte> at = slot.AsSpan(MessageShape.SlotBytes - MessageShape.RegionBytes);
        ulong[] words = [layout.GuestAddress, layout.Length, layout.UserAddress, layout.FileOffset];
        for (int i = 0; i < words.Length; i++) BinaryPrimitives.WriteUInt64LittleEndian(at[(i * sizeof(ulong))..], words[i]);
        frontend.Do(VhostUserRequest.AddMemoryRegion, slot, [fd]);
    }

    private static SafeFileHandle Unnamed(string directory, ulong bytes)
    {
        string path = Path.Combine(directory, $"vmm-attack-{Guid.NewGuid():N}");
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite);
        File.Delete(path);
        RandomAccess.SetLength(file, (long)bytes);
        return file;
    }
}
