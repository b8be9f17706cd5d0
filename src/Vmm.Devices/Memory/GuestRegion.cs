using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Where a region lies: in its file, in the guest, and (vhost-user) in the front-end's address space.</summary>
/// <param name="GuestAddress">Guest-physical address of its first byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="FileOffset">Offset of its first byte in the file.</param>
/// <param name="UserAddress">The front-end's own address of its first byte; 0 without a front-end.</param>
public readonly record struct RegionLayout(ulong GuestAddress, ulong Length, ulong FileOffset = 0, ulong UserAddress = 0);

/// <summary>
/// A contiguous piece of guest-physical memory over a mapped file. Counted: it stays mapped while a memory map that is in force or held
/// contains it.
/// </summary>
public sealed class GuestRegion : IDisposable
{
    /// <summary>Longest region: 16 TiB. Keeps every sum of addresses far from wrapping.</summary>
    public const ulong LengthMax = 1UL << 44;

    private const ulong PageLength = 4096;

    private readonly MappedMemory _mapping;
    private readonly OwnedFd? _file;
    private int _references = 1;

    private GuestRegion(OwnedFd? file, in MemoryFile source, MappedMemory mapping, nint hostAddress, in RegionLayout layout)
    {
        _file = file;
        Source = source;
        _mapping = mapping;
        HostAddress = hostAddress;
        Layout = layout;
    }

    /// <summary>Where it lies.</summary>
    public RegionLayout Layout { get; }

    /// <summary>Guest-physical address of its first byte.</summary>
    public ulong GuestAddress => Layout.GuestAddress;

    /// <summary>Bytes. May exceed 2 GiB.</summary>
    public ulong Length => Layout.Length;

    /// <summary>
    /// Host address of its first byte, for the kernel (KVM memory slots, fixed buffers). Valid while the region is mapped.
    /// </summary>
    public nint HostAddress { get; }

    /// <summary>The file behind it, to be handed to another process. Owned by the region.</summary>
    /// <exception cref="InvalidOperationException">The memory came from another process: its file was closed when it was
    /// mapped.</exception>
    public OwnedFd File => _file ?? throw new InvalidOperationException("the file of this memory was closed when it was mapped");

    /// <summary>
    /// Whether the file was sealed against being shortened when it was mapped (F_SEAL_SHRINK, fcntl(2)); a seal cannot be taken back.
    /// Touching memory beyond a file's end ends the process with SIGBUS.
    /// </summary>
    public bool IsSealed => Source.IsSealed;

    /// <summary>What the file behind it is.</summary>
    internal MemoryFile Source { get; }

    internal bool IsMapped => !_mapping.IsClosed;

    /// <summary>Fresh zeroed memory over a memfd that is sealed against growing and shrinking.</summary>
    /// <param name="guestAddress">Guest-physical address of its first byte.</param>
    /// <param name="bytes">A multiple of 4096, at most <see cref="LengthMax"/>.</param>
    /// <exception cref="KernelException">The host has not enough memory or descriptors.</exception>
    public static GuestRegion Create(ulong guestAddress, ulong bytes)
    {
        if (bytes == 0 || bytes % PageLength != 0 || bytes > LengthMax)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes,
                $"guest memory must be a multiple of {PageLength} bytes, at most {LengthMax}");
        int fd = MemoryCalls.MemfdCreate("guest-memory", MemoryCalls.MFD_CLOEXEC | MemoryCalls.MFD_ALLOW_SEALING);
        if (fd < 0) throw new KernelException("cannot create guest memory", MemoryCalls.LastError);
        OwnedFd file = new(fd);
        try
        {
            if (MemoryCalls.Truncate(fd, (long)bytes) != 0)
                throw new KernelException($"cannot size guest memory to {bytes} bytes", MemoryCalls.LastError);
            if (MemoryCalls.Fcntl(fd, MemoryCalls.F_ADD_SEALS, MemoryCalls.F_SEAL_SHRINK | MemoryCalls.F_SEAL_GROW) != 0)
                throw new KernelException("cannot seal guest memory", MemoryCalls.LastError);
            return TryMap(file, new RegionLayout(guestAddress, bytes), out GuestRegion? region, out string? refusal)
                ? region
                : throw new KernelException(refusal, Errno.NoMemory);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Maps a part of a file that came from elsewhere, checking what it claims of itself.</summary>
    /// <param name="file">Taken over if the region is made; stays the caller's if not.</param>
    /// <param name="layout">Where the region lies.</param>
    /// <param name="region">The region, owned by the caller until a memory takes it.</param>
    /// <param name="refusal">A sentence that says why not.</param>
    public static bool TryMap(OwnedFd file, in RegionLayout layout, [NotNullWhen(true)] out GuestRegion? region,
        [NotNullWhen(false)] out string? refusal)
    {
        ArgumentNullException.ThrowIfNull(file);
        return TryMap(file, layout, MemoryFile.Of(file.Number), null, out region, out refusal);
    }

    /// <summary>
    /// Maps a part of a file that another process sent. The file is closed in any case: a mapping needs none, and a process that holds one
    /// for each region runs out of descriptors.
    /// </summary>
    /// <param name="file">Taken over.</param>
    /// <param name="layout">Where the region lies.</param>
    /// <param name="source">What the file is.</param>
    /// <param name="account">Charged for the mapping, for as long as there is one.</param>
    /// <param name="region">The region, owned by the caller until a memory takes it.</param>
    /// <returns>A sentence that says why not; null if it is mapped.</returns>
    internal static string? TryMapForeign(OwnedFd file, in RegionLayout layout, in MemoryFile source,
        MappingBudget.Account account, out GuestRegion? region)
    {
        using OwnedFd closed = file;
        return TryMap(file, layout, source, account, out region, out string? refusal) ? null : refusal;
    }

    private static bool TryMap(OwnedFd file, in RegionLayout layout, in MemoryFile source, MappingBudget.Account? account,
        [NotNullWhen(true)] out GuestRegion? region, [NotNullWhen(false)] out string? refusal)
    {
        region = null;
        refusal = Check(file, layout, out ulong window);
        if (refusal is not null) return false;

        // Map from a multiple of the file's block: that is the page size of a huge-page file, whose mappings know no other alignment.
        ulong lead = layout.FileOffset % window;
        ulong length = (lead + layout.Length + window - 1) / window * window;
        refusal = account?.TryCharge(length);
        if (refusal is not null) return false;
        Errno errno = MappedMemory.Map(file, layout.FileOffset - lead, length, source.IsHuge, account, out MappedMemory? mapping);
        if (mapping is null)
        {
            account?.Release(length);
            refusal = $"cannot map {layout.Length} bytes of guest memory at offset {layout.FileOffset} of {file}: {errno}";
            if (source.IsHuge && errno == Errno.NoMemory) refusal += " (the host has not that many free huge pages)";
            return false;
        }
        region = new GuestRegion(account is null ? file : null, source, mapping, mapping.Address + (nint)lead, layout);
        return true;
    }

    /// <summary>Gives up the creator's reference. Not to be called once a memory has taken the region.</summary>
    public void Dispose() => Release();

    internal void Hold() => Interlocked.Increment(ref _references);

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) != 0) return;
        _mapping.Dispose();
        _file?.Dispose();
    }

    private static string? Check(OwnedFd file, in RegionLayout layout, out ulong window)
    {
        window = PageLength;
        if (layout.Length == 0 || layout.Length > LengthMax) return $"a memory region of {layout.Length} bytes";
        if (layout.GuestAddress + layout.Length - 1 < layout.GuestAddress)
            return $"a memory region that wraps, at 0x{layout.GuestAddress:x}";
        if (layout.UserAddress + layout.Length - 1 < layout.UserAddress)
            return $"a memory region that wraps, at front-end address 0x{layout.UserAddress:x}";
        Errno errno = MemoryCalls.Stat(file.Number, out FileStatus status);
        if (errno != Errno.None) return $"cannot stat the file of a memory region: {errno}";
        if (status.Size < 0 || layout.FileOffset > (ulong)status.Size || layout.Length > (ulong)status.Size - layout.FileOffset)
            return $"a memory region of {layout.Length} bytes at offset {layout.FileOffset} of a file of {status.Size} bytes";
        if (status.BlockSize > (long)PageLength && (status.BlockSize & (status.BlockSize - 1)) == 0) window = (ulong)status.BlockSize;
        return null;
    }
}
