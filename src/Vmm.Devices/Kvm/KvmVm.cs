namespace Vmm.Devices.Kvm;

/// <summary>
/// A virtual machine of KVM: memory slots, interrupt controllers, the wires between eventfds and the guest, vCPUs. Members are thread-safe
/// as far as the kernel's are; the machine is set up by one thread before its vCPUs run.
/// </summary>
public sealed partial class KvmVm : IDisposable
{
    /// <summary>
    /// Intel hosts need three pages for a task state below 4 GiB that the guest does not use, and one for an identity map.
    /// </summary>
    internal const ulong ReservedForHost = 0xfffb_c000;

    private const nuint TaskStateAddress = (nuint)ReservedForHost + 0x1000;
    /// <summary>Whose mappings are dropped at once: longer, and a guest that touches them waits.</summary>
    private const ulong LoosenedBytes = 16 << 20;

    private readonly KvmSystem _system;
    private readonly OwnedFd _fd;
    /// <summary>The regions by their slots; null for a slot that is free. It is its own lock.</summary>
    private readonly List<GuestRegion?> _slots = [];
    /// <summary>Other mappings of regions that the guest has in their place, by slot. Under the same lock.</summary>
    private readonly Dictionary<int, MappedMemory> _views = [];

    internal KvmVm(KvmSystem system, OwnedFd fd)
    {
        _system = system;
        _fd = fd;
        try
        {
            if (system.Check(KvmCapability.SetTssAddress) == 0) return;
            ulong identityMap = ReservedForHost;
            Check(KvmCall.Control(fd.Number, KvmRequest.KVM_SET_IDENTITY_MAP_ADDR, ref identityMap), "KVM_SET_IDENTITY_MAP_ADDR");
            Check(KvmCall.Control(fd.Number, KvmRequest.KVM_SET_TSS_ADDR, TaskStateAddress), "KVM_SET_TSS_ADDR");
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    internal KvmSystem System => _system;

    /// <summary>Gives the guest every region of a memory, as <see cref="AddMemory"/> does.</summary>
    /// <param name="memory">Its regions are page-aligned.</param>
    /// <param name="logDirtyPages">Whether written pages are noted for <see cref="GetDirtyPages"/>.</param>
    /// <exception cref="KernelException">A region is misaligned, or there are more than KVM has slots.</exception>
    public void SetMemory(GuestMemory memory, bool logDirtyPages = false)
    {
        ArgumentNullException.ThrowIfNull(memory);
        foreach (GuestRegion region in memory.Regions) AddMemory(region, logDirtyPages);
    }

    /// <summary>
    /// Gives the guest a region of memory, in the first free slot, and keeps it mapped until it is removed or the VM is closed.
    /// </summary>
    /// <param name="region">Page-aligned.</param>
    /// <param name="logDirtyPages">Whether written pages are noted for <see cref="GetDirtyPages"/>.</param>
    /// <exception cref="KernelException">It is misaligned, overlaps another region, or there are no more slots.</exception>
    public void AddMemory(GuestRegion region, bool logDirtyPages = false)
    {
        ArgumentNullException.ThrowIfNull(region);
        lock (_slots)
        {
            int slot = _slots.IndexOf(null);
            if (slot < 0)
            {
                slot = _slots.Count;
                _slots.Add(null);
            }
            SetMemorySlot(slot, region.GuestAddress, region.Length, (nuint)region.HostAddress, logDirtyPages);
            region.Hold();
            _slots[slot] = region;
        }
    }

    /// <summary>Takes a region away from the guest. Its accesses exit to user space from now on.</summary>
    /// <exception cref="ArgumentException">The guest does not have it.</exception>
    public void RemoveMemory(GuestRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        lock (_slots)
        {
            int slot = _slots.IndexOf(region);
            if (slot < 0) throw new ArgumentException($"the guest has no memory region at 0x{region.GuestAddress:x}", nameof(region));
            SetMemorySlot(slot, region.GuestAddress, 0, 0);
            _slots[slot] = null;
            if (_views.Remove(slot, out MappedMemory? view)) view.Dispose();
            region.Release();
        }
    }

    /// <summary>
    /// Gives the guest a region that it has anew, by the mapping there is or by another, which is taken over. Written pages are noted from
    /// now on. No vCPU runs.
    /// </summary>
    /// <exception cref="KernelException">KVM refuses.</exception>
    internal void Renew(GuestRegion region, MappedMemory? view)
    {
        lock (_slots)
        {
            int slot = _slots.IndexOf(region);
            MappedMemory? before = _views.GetValueOrDefault(slot);
            nint address = (view ?? before)?.Address ?? region.HostAddress;
            // A slot can't be changed in place.
            SetMemorySlot(slot, region.GuestAddress, 0, 0);
            SetMemorySlot(slot, region.GuestAddress, region.Length, (nuint)address, logDirtyPages: true);
            if (view is null) return;
            before?.Dispose();
            _views[slot] = view;
        }
    }

    /// <summary>
    /// Has KVM drop its mappings of the pages of a region that is shared, part by part while the guest runs, which gets them again when it
    /// touches them: a renewal, which drops all at once, finds few then.
    /// </summary>
    internal void Loosen(GuestRegion region)
    {
        lock (_slots)
        {
            nint address = _views.GetValueOrDefault(_slots.IndexOf(region))?.Address ?? region.HostAddress;
            for (ulong at = 0; at < region.Length; at += LoosenedBytes)
            {
                _ = MemoryCalls.Advise(address + (nint)at, (nuint)Math.Min(LoosenedBytes, region.Length - at), MemoryCalls.MADV_DONTNEED);
            }
        }
    }

    /// <summary>
    /// Has <see cref="GetDirtyPages"/> leave the pages as they are: who asks renews the slot. It would protect each page for nothing.
    /// </summary>
    internal void KeepDirtyPages()
    {
        const ulong Manual = 1;
        if (_system.Check(KvmCapability.ManualDirtyLogProtect) == 0) return;
        KvmEnableCap enable = new() { Capability = (uint)KvmCapability.ManualDirtyLogProtect, Argument0 = Manual };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_ENABLE_CAP, ref enable), "cannot leave the protection of dirty pages to us");
    }

    /// <summary>Adds the pages of a region that the guest has written since it got it by <see cref="Renew"/> to a set.</summary>
    /// <exception cref="KernelException">KVM refuses.</exception>
    internal void AddDirtyPages(GuestRegion region, Span<ulong> pages)
    {
        ulong[] written = new ulong[pages.Length];
        lock (_slots) GetDirtyPages(_slots.IndexOf(region), written);
        for (int i = 0; i < written.Length; i++) pages[i] |= written[i];
    }

    /// <summary>
    /// Gives the guest a range of memory, whole pages that stay mapped in this process until the slot is taken away, or changes it; no
    /// bytes take it away.
    /// </summary>
    /// <exception cref="KernelException">Misaligned, or it overlaps another slot.</exception>
    internal void SetMemorySlot(int slot, ulong guestAddress, ulong size, nuint hostAddress, bool logDirtyPages = false)
    {
        KvmMemoryRegion region = new()
        {
            Slot = (uint)slot,
            Flags = logDirtyPages ? KvmMemoryRegion.LogDirtyPages : 0,
            GuestAddress = guestAddress,
            Size = size,
            HostAddress = hostAddress,
        };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_SET_USER_MEMORY_REGION, ref region),
            $"cannot give the guest {size} bytes of memory at {guestAddress:x} (slot {slot})");
    }

    /// <summary>Pages of a slot that were written since the last call: one bit a page, in whole words.</summary>
    /// <exception cref="KernelException">The slot does not log.</exception>
    internal void GetDirtyPages(int slot, Span<ulong> bitmap)
    {
        Errno errno = KvmCall.GetDirtyLog(_fd.Number, (uint)slot, bitmap);
        if (errno != Errno.None)
            throw new KernelException($"cannot read the dirty pages of memory slot {slot}", errno, "turn its logging on first");
    }

    /// <summary>Makes a vCPU in the state of reset; of several the first runs and the others wait to be started by it.</summary>
    /// <param name="index">Its number, and its local interrupt controller's.</param>
    /// <exception cref="KernelException">The number is taken or too high.</exception>
    public KvmVcpu CreateVcpu(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        int number = KvmCall.Control(_fd.Number, KvmRequest.KVM_CREATE_VCPU, (nuint)index);
        Check(number, $"cannot make vCPU {index}");
        OwnedFd fd = new(number);
        try
        {
            return new KvmVcpu(_system, index, fd);
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Turns guest writes into signals of an eventfd, in the kernel. Ends with <see cref="RemoveIoEvent"/>, or when the VM is closed; the
    /// eventfd may be closed before.
    /// </summary>
    /// <exception cref="KernelException">The address is taken, or the length is none that KVM knows.</exception>
    public void AddIoEvent(in KvmIoEvent io, EventFd eventFd)
    {
        ArgumentNullException.ThrowIfNull(eventFd);
        SetIoEvent(io, eventFd, 0, "cannot watch");
    }

    /// <summary>Ends what <see cref="AddIoEvent"/> began, with the same values: the writes exit to user space again.</summary>
    /// <exception cref="KernelException">There is no such event.</exception>
    public void RemoveIoEvent(in KvmIoEvent io, EventFd eventFd)
    {
        ArgumentNullException.ThrowIfNull(eventFd);
        SetIoEvent(io, eventFd, KvmIoEventFd.Deassign, "cannot stop watching");
    }

    /// <summary>Closes the machine. Its vCPUs are disposed before.</summary>
    public void Dispose()
    {
        _fd.Dispose();
        lock (_slots)
        {
            foreach (GuestRegion? region in _slots) region?.Release();
            foreach (MappedMemory view in _views.Values) view.Dispose();
            _slots.Clear();
            _views.Clear();
        }
    }

    private void SetIoEvent(in KvmIoEvent io, EventFd eventFd, uint flags, string what)
    {
        if (io.IsPort) flags |= KvmIoEventFd.Port;
        if (io.Match is not null) flags |= KvmIoEventFd.DataMatch;
        KvmIoEventFd request = new()
        {
            Address = io.Address,
            Length = (uint)io.Length,
            Match = io.Match ?? 0,
            Fd = eventFd.Number,
            Flags = flags,
        };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_IOEVENTFD, ref request),
            $"{what} writes of {io.Length} bytes at {(io.IsPort ? "port " : "")}{io.Address:x}");
    }

    private static void Check(int result, string what)
    {
        if (result < 0) throw new KernelException(what, CallResult.LastError);
    }
}
