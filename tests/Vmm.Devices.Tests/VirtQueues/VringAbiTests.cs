using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests;

/// <summary>Rings and guest memory as the kernel's headers have them.</summary>
[Collection(Alone.Name)]
public sealed class VringAbiTests
{
    [Fact]
    public void Rings_are_laid_out_as_in_linux_virtio_ring()
    {
        Descriptor descriptor = new(1, 2 | (3UL << 32) | (4UL << 48));
        Assert.Equal((2u, 3, 4, 3, 4), (descriptor.Length, descriptor.SplitFlags, descriptor.Next, descriptor.BufferId, descriptor.PackedFlags));
        Agree(["linux/virtio_ring.h"], new()
        {
            ["sizeof(struct vring_desc)"] = RingLayout.DescriptorLength,
            ["offsetof(struct vring_desc, addr)"] = 0,
            ["offsetof(struct vring_desc, len)"] = 8,
            ["offsetof(struct vring_desc, flags)"] = 12,
            ["offsetof(struct vring_desc, next)"] = 14,
            ["sizeof(struct vring_packed_desc)"] = RingLayout.DescriptorLength,
            ["offsetof(struct vring_packed_desc, addr)"] = 0,
            ["offsetof(struct vring_packed_desc, len)"] = 8,
            ["offsetof(struct vring_packed_desc, id)"] = 12,
            ["offsetof(struct vring_packed_desc, flags)"] = (long)new PackedPosition(0, true).FlagsOffset,
            ["sizeof(struct vring_packed_desc_event)"] = (long)RingLayout.EventLength,
            ["offsetof(struct vring_packed_desc_event, off_wrap)"] = 0,
            ["offsetof(struct vring_packed_desc_event, flags)"] = 2,
            ["offsetof(struct vring_avail, flags)"] = (long)RingLayout.FlagsOffset,
            ["offsetof(struct vring_avail, idx)"] = (long)RingLayout.IndexOffset,
            ["offsetof(struct vring_avail, ring)"] = (long)RingLayout.EntriesOffset,
            ["sizeof(((struct vring_avail *)0)->ring[0])"] = RingLayout.AvailableEntryLength,
            ["offsetof(struct vring_used, flags)"] = (long)RingLayout.FlagsOffset,
            ["offsetof(struct vring_used, idx)"] = (long)RingLayout.IndexOffset,
            ["offsetof(struct vring_used, ring)"] = (long)RingLayout.EntriesOffset,
            ["sizeof(struct vring_used_elem)"] = RingLayout.UsedEntryLength,
            ["offsetof(struct vring_used_elem, len)"] = 4,
            ["VRING_DESC_F_NEXT"] = RingLayout.FlagNext,
            ["VRING_DESC_F_WRITE"] = RingLayout.FlagWrite,
            ["VRING_DESC_F_INDIRECT"] = RingLayout.FlagIndirect,
            ["VRING_USED_F_NO_NOTIFY"] = RingLayout.NoNotify,
            ["VRING_AVAIL_F_NO_INTERRUPT"] = RingLayout.NoNotify,
            ["1 << VRING_PACKED_DESC_F_AVAIL"] = new PackedPosition(0, true).AvailableFlags,
            ["1 << VRING_PACKED_DESC_F_USED"] = new PackedPosition(0, false).AvailableFlags,
            ["VRING_PACKED_EVENT_FLAG_DISABLE"] = RingLayout.EventDisable,
            ["VRING_PACKED_EVENT_FLAG_DESC"] = RingLayout.EventAtPosition,
            ["1 << VRING_PACKED_EVENT_F_WRAP_CTR"] = new PackedPosition(0, true).Bits,
            ["1ULL << VIRTIO_RING_F_INDIRECT_DESC"] = (long)VirtioFeatures.IndirectDescriptors,
            ["1ULL << VIRTIO_RING_F_EVENT_IDX"] = (long)VirtioFeatures.EventIndex,
        });
    }

    [Fact]
    public void Events_are_wanted_as_linux_virtio_ring_says()
    {
        (int Event, int After, int Before)[] cases =
            [(0, 1, 0), (0, 0, 0), (5, 6, 5), (5, 6, 4), (5, 5, 4), (6, 6, 5), (65535, 0, 65535), (65535, 3, 65000), (3, 3, 65000), (0, 65535, 1), (65535, 65535, 0)];
        Agree(["linux/types.h", "linux/virtio_ring.h"], cases.ToDictionary(
            each => $"vring_need_event({each.Event}, {each.After}, {each.Before})",
            each => SplitQueue.Passed((ushort)each.Event, (ushort)each.Before, (ushort)each.After) ? 1L : 0L));
    }

    [Fact]
    public void Memory_calls_are_those_of_the_headers() => Agree(["sys/mman.h", "sys/stat.h", "sys/vfs.h", "sys/uio.h", "fcntl.h"], new()
    {
        ["sizeof(struct statfs)"] = Unsafe.SizeOf<FileSystemStatus>(),
        ["offsetof(struct statfs, f_type)"] = Marshal.OffsetOf<FileSystemStatus>(nameof(FileSystemStatus.Type)),
        ["sizeof(struct stat)"] = Unsafe.SizeOf<FileStatus>(),
        ["offsetof(struct stat, st_mode)"] = Marshal.OffsetOf<FileStatus>(nameof(FileStatus.Mode)),
        ["offsetof(struct stat, st_size)"] = Marshal.OffsetOf<FileStatus>(nameof(FileStatus.Size)),
        ["offsetof(struct stat, st_blksize)"] = Marshal.OffsetOf<FileStatus>(nameof(FileStatus.BlockSize)),
        ["sizeof(struct iovec)"] = Unsafe.SizeOf<IoVector>(),
        ["offsetof(struct iovec, iov_base)"] = 0,
        ["offsetof(struct iovec, iov_len)"] = Unsafe.SizeOf<nint>(),
        ["MFD_CLOEXEC"] = MemoryCalls.MFD_CLOEXEC,
        ["MFD_ALLOW_SEALING"] = MemoryCalls.MFD_ALLOW_SEALING,
        ["PROT_READ"] = MemoryCalls.PROT_READ,
        ["PROT_WRITE"] = MemoryCalls.PROT_WRITE,
        ["MAP_SHARED"] = MemoryCalls.MAP_SHARED,
        ["MAP_NORESERVE"] = MemoryCalls.MAP_NORESERVE,
        ["MADV_REMOVE"] = MemoryCalls.MADV_REMOVE,
        ["F_ADD_SEALS"] = MemoryCalls.F_ADD_SEALS,
        ["F_GET_SEALS"] = MemoryCalls.F_GET_SEALS,
        ["F_SEAL_SHRINK"] = MemoryCalls.F_SEAL_SHRINK,
        ["F_SEAL_GROW"] = MemoryCalls.F_SEAL_GROW,
    });

    private static void Agree(string[] headers, Dictionary<string, long> ours)
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(headers, [.. ours.Keys]);
        Assert.Equal(theirs.OrderBy(pair => pair.Key), ours.OrderBy(pair => pair.Key));
    }
}
