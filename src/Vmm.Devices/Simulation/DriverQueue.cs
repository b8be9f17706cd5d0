namespace Vmm.Devices.Simulation;

/// <summary>
/// The driver's side of a virtqueue, as a guest's kernel has it: adds chains, decides whether to kick, collects what the device used. For
/// simulated guests, load generators and tests. Used by one thread. It also does on demand what no driver may do: see the raw members.
/// </summary>
internal abstract class DriverQueue : IDisposable
{
    private readonly ulong[] _tables;
    private readonly uint[] _tableEntries;
    private readonly GuestAllocator _allocator;

    private protected DriverQueue(GuestMemory memory, GuestAllocator allocator, ushort size, ulong features)
    {
        Memory = memory;
        Size = size;
        Features = features;
        Hold = memory.Hold();
        _allocator = allocator;
        _tables = new ulong[size];
        _tableEntries = new uint[size];
        QueueConfiguration shape = new()
        {
            Index = 0,
            Size = size,
            Features = features,
            DescriptorTable = 0,
            DriverRing = 0,
            DeviceRing = 0
        };
        DescriptorTable = AllocateZeroed(RingLayout.TableLength(size));
        DriverRing = AllocateZeroed(RingLayout.DriverLength(shape));
        DeviceRing = AllocateZeroed(RingLayout.DeviceLength(shape));
        Table = Resolve(DescriptorTable, RingLayout.TableLength(size));
        Driver = Resolve(DriverRing, RingLayout.DriverLength(shape));
        Device = Resolve(DeviceRing, RingLayout.DeviceLength(shape));
        UseIndirect = HasIndirect;
    }

    /// <summary>The guest memory the ring is in.</summary>
    internal GuestMemory Memory { get; }

    /// <summary>Entries of the ring.</summary>
    internal ushort Size { get; }

    /// <summary>The feature bits it was laid out for.</summary>
    internal ulong Features { get; }

    /// <summary>Guest address of the descriptor table (split) or ring (packed).</summary>
    internal ulong DescriptorTable { get; }

    /// <summary>Guest address of the driver area.</summary>
    internal ulong DriverRing { get; }

    /// <summary>Guest address of the device area.</summary>
    internal ulong DeviceRing { get; }

    /// <summary>Ring descriptors not in use. A chain takes one for each buffer, or one in all if it is indirect.</summary>
    internal abstract int Free { get; }

    /// <summary>Whether chains go into indirect tables. On from the start if that was negotiated.</summary>
    internal bool UseIndirect { get; set; }

    /// <summary>Where a device begins with it, in the form of VHOST_USER_SET_VRING_BASE.</summary>
    internal uint StartBase =>
        (Features & VirtioFeatures.PackedRing) == 0 ? 0 : PackedPosition.StartBits | ((uint)PackedPosition.StartBits << 16);

    /// <summary>Chains added and not collected yet.</summary>
    internal int InFlight { get; private protected set; }

    private protected MemoryHold Hold { get; }

    private protected GuestWindow Table { get; }

    private protected GuestWindow Driver { get; }

    private protected GuestWindow Device { get; }

    private protected bool HasEventIndex => (Features & VirtioFeatures.EventIndex) != 0;

    private bool HasIndirect => (Features & VirtioFeatures.IndirectDescriptors) != 0;

    /// <summary>Lays a ring out in guest memory.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="allocator">Where the ring and its indirect tables come from.</param>
    /// <param name="size">Entries.</param>
    /// <param name="features">Negotiated features: ring layout, EVENT_IDX, indirect descriptors.</param>
    internal static DriverQueue Create(GuestMemory memory, GuestAllocator allocator, ushort size, ulong features)
    {
        return (features & VirtioFeatures.PackedRing) != 0
            ? new PackedDriverQueue(memory, allocator, size, features)
            : new SplitDriverQueue(memory, allocator, size, features);
    }

    /// <summary>What the driver writes to the device about this queue.</summary>
    internal QueueConfiguration Configuration(int index = 0) => new()
    {
        Index = index,
        Size = Size,
        DescriptorTable = DescriptorTable,
        DriverRing = DriverRing,
        DeviceRing = DeviceRing,
        Features = Features,
    };

    /// <summary>Adds a chain. The device sees it after <see cref="Publish"/>.</summary>
    /// <param name="readable">Buffers for the device to read.</param>
    /// <param name="writable">Buffers for the device to write.</param>
    /// <param name="id">Names the chain until it is collected; less than <see cref="Size"/>.</param>
    /// <returns>False if the ring has too few free descriptors.</returns>
    /// <exception cref="ArgumentException">There is no buffer at all, or more than the queue size.</exception>
    internal bool TryAdd(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, out ushort id)
    {
        int buffers = readable.Length + writable.Length;
        if (buffers == 0 || buffers > Size) throw new ArgumentException($"a chain of {buffers} buffers in a queue of {Size}");
        id = 0;
        bool indirect = UseIndirect && HasIndirect;
        if (Free < (indirect ? 1 : buffers)) return false;
        id = indirect ? AddIndirect(readable, writable) : AddDirect(readable, writable);
        InFlight++;
        return true;
    }

    /// <summary>Makes added chains available.</summary>
    /// <returns>Whether the device wants a kick for them.</returns>
    internal abstract bool Publish();

    /// <summary>Takes the next chain the device gave back.</summary>
    /// <exception cref="InvalidDataException">The device gave back what it never got: a bug of the device.</exception>
    internal abstract bool TryCollect(out UsedChain used);

    /// <summary>Whether the device gave back something that was not collected.</summary>
    internal abstract bool HasUsed { get; }

    /// <summary>Asks the device not to interrupt.</summary>
    internal abstract void DisableInterrupts();

    /// <summary>Asks the device to interrupt for the next used chain.</summary>
    /// <returns>True if it gave some back in the meantime: no interrupt will come for those.</returns>
    internal abstract bool EnableInterrupts();

    /// <summary>Lets go of guest memory.</summary>
    public void Dispose()
    {
        Hold.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected abstract ushort AddDirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable);

    private protected abstract ushort AddIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable);

    /// <summary>The indirect table of a chain, with room for some descriptors. Kept for the next chain of that id.</summary>
    private protected GuestWindow IndirectTable(ushort id, int entries, out ulong address)
    {
        if (_tableEntries[id] < entries)
        {
            if (_tableEntries[id] > 0) _allocator.Free(_tables[id], _tableEntries[id] * RingLayout.DescriptorLength);
            _tables[id] = _allocator.Allocate((uint)entries * RingLayout.DescriptorLength);
            _tableEntries[id] = (uint)entries;
        }
        address = _tables[id];
        return Resolve(address, (ulong)entries * RingLayout.DescriptorLength);
    }

    private protected GuestWindow Resolve(ulong address, ulong length) =>
        GuestWindow.TryResolve(Hold.Map, address, length, 1, out GuestWindow window)
        ? window
        : throw new InvalidOperationException($"0x{address:x} and the {length} bytes from there are not in guest memory");

    private ulong AllocateZeroed(ulong length)
    {
        ulong address = _allocator.Allocate((uint)length);
        Memory.TryWrite(address, new byte[length]);
        return address;
    }
}
