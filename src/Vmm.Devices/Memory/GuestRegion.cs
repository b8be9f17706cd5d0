using System.Diagnostics.CodeAnalysis;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>Where a region lies: in the guest and in its file.</summary>
internal readonly record struct RegionLayout(ulong GuestAddress, ulong Length, ulong FileOffset = 0);

/// <summary>
/// A contiguous piece of guest-physical memory over a mapped file. Counted: it stays mapped while a memory map that is in force or held
/// contains it.
/// </summary>
public sealed unsafe class GuestRegion : IDisposable
{
    /// <summary>Longest region: 16 TiB. Keeps every sum of addresses far from wrapping.</summary>
    public const ulong LengthMax = 1UL << 44;

    private const ulong PageLength = 4096;

    private readonly MappedMemory _mapping;
    private readonly OwnedFd? _file;
    private readonly PrivatePages? _private;
    /// <summary>Held while pages are given back, and while the kernel begins to keep them.</summary>
    private readonly Lock _pinning = new();
    private bool _isOurs;
    private bool _isPinned;
    private int _references = 1;

    private GuestRegion(OwnedFd? file, in MemoryFile source, MappedMemory mapping, nint hostAddress, in RegionLayout layout,
        bool isPrivate = false)
    {
        if (isPrivate) _private = new PrivatePages(hostAddress, layout.Length);
        _file = file;
        Source = source;
        _mapping = mapping;
        HostAddress = hostAddress;
        Layout = layout;
    }

    /// <summary>Where it lies.</summary>
    internal RegionLayout Layout { get; }

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
    /// mapped. Or it was restored: what is written to it is not in the file.</exception>
    public OwnedFd File => IsPrivate ? throw new InvalidOperationException("this memory is a private view of a snapshot's file")
        : _file ?? throw new InvalidOperationException("the file of this memory was closed when it was mapped");

    /// <summary>Whether it is a private view of a snapshot's file: what is written to it stays in this process.</summary>
    internal bool IsPrivate => _private is not null;

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
    /// <param name="bytes">Whole pages, at most <see cref="LengthMax"/>.</param>
    /// <param name="pages">What it is made of. Huge pages are reserved now, so that none is missing later.</param>
    /// <exception cref="KernelException">The host has not enough memory, huge pages or descriptors.</exception>
    public static GuestRegion Create(ulong guestAddress, ulong bytes, PageSize pages = PageSize.Standard)
    {
        ulong pageLength = BytesOf(pages);
        if (bytes == 0 || bytes % pageLength != 0 || bytes > LengthMax)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes,
                $"guest memory must be a multiple of {pageLength} bytes, at most {LengthMax}");
        uint kind = pages switch
        {
            PageSize.TwoMiB => MemoryCalls.MFD_HUGETLB | MemoryCalls.MFD_HUGE_2MB,
            PageSize.OneGiB => MemoryCalls.MFD_HUGETLB | MemoryCalls.MFD_HUGE_1GB,
            _ => 0,
        };
        int fd = MemoryCalls.MemfdCreate("guest-memory", MemoryCalls.MFD_CLOEXEC | MemoryCalls.MFD_ALLOW_SEALING | kind);
        if (fd < 0) throw pages == PageSize.Standard ? new KernelException("cannot create guest memory", CallResult.LastError)
            : new KernelException($"cannot create guest memory of pages of {pageLength >> 20} MiB", CallResult.LastError,
                "look whether this host has pages of that size (/sys/kernel/mm/hugepages)");
        OwnedFd file = new(fd);
        try
        {
            if (MemoryCalls.Truncate(fd, (long)bytes) != 0)
                throw new KernelException($"cannot size guest memory to {bytes} bytes", CallResult.LastError);
            if (MemoryCalls.Fcntl(fd, MemoryCalls.F_ADD_SEALS, MemoryCalls.F_SEAL_SHRINK | MemoryCalls.F_SEAL_GROW) != 0)
                throw new KernelException("cannot seal guest memory", CallResult.LastError);
            if (!TryMap(file, new RegionLayout(guestAddress, bytes), out GuestRegion? region, out string? refusal))
                throw new KernelException(refusal, Errno.NoMemory, pages == PageSize.Standard ? null : NoneFree(bytes, pageLength));
            region._isOurs = true;
            return region;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Bytes of a page.</summary>
    internal static ulong BytesOf(PageSize pages) => pages switch
    {
        PageSize.TwoMiB => 2 << 20,
        PageSize.OneGiB => 1 << 30,
        _ => PageLength,
    };

    private static string NoneFree(ulong bytes, ulong pageLength) =>
        $"{bytes / pageLength} huge pages of {pageLength >> 20} MiB are not free: put as many aside "
        + $"(/sys/kernel/mm/hugepages/hugepages-{pageLength >> 10}kB/nr_hugepages)";

    /// <summary>
    /// Maps a part of a snapshot's memory, whole pages: they are read when they are first touched, and what is written stays in this
    /// process. The file, which is not shorter than the layout says, is taken over.
    /// </summary>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal static GuestRegion MapPrivate(OwnedFd file, in RegionLayout layout)
    {
        Errno errno = MappedMemory.MapPrivate(file, layout.FileOffset, layout.Length, out MappedMemory? mapping);
        if (mapping is not null) return new GuestRegion(file, default, mapping, mapping.Address, layout, isPrivate: true);
        file.Dispose();
        throw new KernelException($"cannot map {layout.Length} bytes of saved memory", errno);
    }

    /// <summary>Puts pages of a differential snapshot in the place of those of a private view that nothing has touched yet.</summary>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal void Overlay(OwnedFd file, ulong[] pages) => _private!.Overlay(file, Layout.FileOffset, pages);

    /// <summary>Adds the pages of a private view that are not as in the snapshot any more to a set.</summary>
    /// <returns>False if the kernel does not say.</returns>
    internal bool TryMarkWritten(ulong[] pages)
    {
        _private!.AddReplaced(pages);
        return DataExtents.TryMarkWritten(HostAddress, Length, pages);
    }

    /// <summary>
    /// Maps a part of a file that came from elsewhere, checking what it claims of itself. The region, the caller's until a memory takes it,
    /// takes the file over; if there is none, a sentence says why, and the file stays the caller's.
    /// </summary>
    internal static bool TryMap(OwnedFd file, in RegionLayout layout, [NotNullWhen(true)] out GuestRegion? region,
        [NotNullWhen(false)] out string? refusal)
    {
        ArgumentNullException.ThrowIfNull(file);
        return TryMap(file, layout, MemoryFile.Of(file.Number), null, out region, out refusal);
    }

    /// <summary>
    /// Maps a part of a file that another process sent, and charges its account while there is a mapping. The file is closed in any case: a
    /// mapping needs none, and a process that holds one for each region runs out of descriptors.
    /// </summary>
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

    /// <summary>Maps the region once more. What is written by one mapping is seen by the other.</summary>
    /// <exception cref="KernelException">The host refuses.</exception>
    internal MappedMemory MapAgain()
    {
        Errno errno = MappedMemory.Map(File, Layout.FileOffset, Length, isHuge: false, null, out MappedMemory? mapping);
        return mapping ?? throw new KernelException($"cannot map {Length} bytes of guest memory once more", errno);
    }

    /// <summary>Bytes of the region. The caller keeps it mapped.</summary>
    internal ReadOnlySpan<byte> Bytes(ulong offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset + (ulong)length, Length);
        // SAFETY: the range is inside the mapping, which the caller keeps.
        return new ReadOnlySpan<byte>((byte*)HostAddress + offset, length);
    }

    /// <summary>The parts of the region that may be other than zeros, page-aligned, by their offsets. Others take no memory.</summary>
    internal IEnumerable<(ulong Start, ulong Length)> Extents() => _private is null && _file is not null
        ? DataExtents.OfFile(_file, Layout.FileOffset, Length)
        : _private is null ? [(0, Length)] : DataExtents.OfPrivate(_file!, Layout.FileOffset, HostAddress, Length, _private);

    /// <summary>
    /// The first page at an offset or behind it that takes memory; the length of the region if there is none. Of a region that is shared.
    /// </summary>
    internal ulong NextData(ulong offset)
    {
        if (offset >= Length) return Length;
        long data = FileCalls.Seek(File.Number, (long)(Layout.FileOffset + offset), FileCalls.SEEK_DATA);
        if (data < 0) return CallResult.LastError == Errno.NoDeviceOrAddress ? Length : offset;
        return Math.Clamp(((ulong)data - Layout.FileOffset) & ~(PageLength - 1), offset, Length);
    }

    /// <summary>
    /// Has the region keep, for as long as it lives, the pages that are behind its addresses: the kernel is about to move bytes to them
    /// without looking at the mapping.
    /// </summary>
    /// <returns>Why that is not possible; null if it is so from now on.</returns>
    internal string? Pin()
    {
        if (IsPrivate) return "it goes on from a snapshot, whose pages are replaced when the guest writes them";
        if (!_isOurs) return "another process made it, which may replace its pages at any time";
        lock (_pinning) _isPinned = true;
        return null;
    }

    /// <summary>Has a ring keep the pages of a pinned region. The caller keeps the region mapped until the ring lets go of them.</summary>
    /// <inheritdoc cref="RingMemory.Add" path="/returns"/>
    internal Errno AddTo(RingMemory memory) =>
        // SAFETY: all of the mapping, which the caller keeps.
        memory.Add((void*)HostAddress, (nuint)Length);

    /// <summary>Has the kernel give memory to all pages now, as pinning would: it takes long. Nothing where that is not possible.</summary>
    internal void Populate()
    {
        if (!IsPrivate) _ = MemoryCalls.Advise(HostAddress, (nuint)Length, MemoryCalls.MADV_POPULATE_WRITE);
    }

    /// <summary>
    /// Gives whole pages of a range back to the host; they read as zeros. A pinned region keeps them, and they are zeroed.
    /// </summary>
    /// <returns>False if the kernel refuses.</returns>
    internal bool TryDiscard(nint host, ulong length)
    {
        nint page = (nint)PageLength;
        nint start = (host + page - 1) / page * page, end = (host + (nint)length) / page * page;
        if (start >= end) return true;
        if (_private is { } pages) return pages.TryClear((ulong)(start - HostAddress), (ulong)(end - start));
        lock (_pinning)
        {
            if (!_isPinned) return MemoryCalls.Advise(start, (nuint)(end - start), MemoryCalls.MADV_REMOVE) == 0;
        }
        // SAFETY: the pages are inside the mapping, which the caller keeps. By pages, so that a collection of garbage does not wait.
        for (; start < end; start += page) new Span<byte>((byte*)start, (int)page).Clear();
        return true;
    }

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
        Errno errno = MemoryCalls.Stat(file.Number, out FileStatus status);
        if (errno != Errno.None) return $"cannot stat the file of a memory region: {errno}";
        if (status.Size < 0 || layout.FileOffset > (ulong)status.Size || layout.Length > (ulong)status.Size - layout.FileOffset)
            return $"a memory region of {layout.Length} bytes at offset {layout.FileOffset} of a file of {status.Size} bytes";
        if (status.BlockSize > (long)PageLength && (status.BlockSize & (status.BlockSize - 1)) == 0) window = (ulong)status.BlockSize;
        return null;
    }
}
