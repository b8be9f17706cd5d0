namespace Vmm.Devices.Simulation;

/// <summary>A queue as a test's driver sees it: requests go in by the sizes or contents of their buffers, and come back used.</summary>
public sealed class SimulatedQueue : IDisposable
{
    private readonly GuestMemory _memory;
    private readonly GuestAllocator _allocator;
    private readonly DriverRequest?[] _requests;

    internal SimulatedQueue(int index, GuestMemory memory, GuestAllocator allocator, DriverQueue ring)
    {
        Index = index;
        Ring = ring;
        _memory = memory;
        _allocator = allocator;
        _requests = new DriverRequest?[ring.Size];
    }

    /// <summary>The queue's number in its device.</summary>
    public int Index { get; }

    /// <summary>The ring below, for what is not said in requests. Chains added there are collected there.</summary>
    internal DriverQueue Ring { get; }

    /// <summary>Whether the device asked to be kicked for what was last made available.</summary>
    public bool WantsKick { get; private set; }

    /// <summary>Requests the device has not given back.</summary>
    public int InFlight => Ring.InFlight;

    /// <summary>Makes a request available: fresh buffers, each in guest memory of its own. The device is not kicked for it.</summary>
    /// <param name="readable">The contents of the buffers the device reads.</param>
    /// <param name="writable">The lengths of the buffers it writes.</param>
    /// <exception cref="InvalidOperationException">The ring, or guest memory, is full.</exception>
    public DriverRequest Add(byte[][]? readable = null, int[]? writable = null)
    {
        GuestBuffer[] filled = [.. (readable ?? []).Select(content => Place(content))];
        GuestBuffer[] empty = [.. (writable ?? []).Select(length => Place(new byte[length]))];
        return Add(filled, empty);
    }

    /// <summary>Makes a request of buffers available that the caller placed, anywhere. The device is not kicked for it.</summary>
    /// <exception cref="InvalidOperationException">The ring is full.</exception>
    public DriverRequest Add(GuestBuffer[] readable, GuestBuffer[] writable)
    {
        DriverRequest request = new(_memory, readable, writable);
        if (!Ring.TryAdd(readable, writable, out ushort id))
            throw new InvalidOperationException($"queue {Index} has {Ring.Free} free descriptors left: too few for this request");
        _requests[id] = request;
        WantsKick = Ring.Publish();
        return request;
    }

    /// <summary>Puts bytes into guest memory of their own.</summary>
    public GuestBuffer Place(ReadOnlySpan<byte> content)
    {
        ulong address = _allocator.Allocate((uint)content.Length);
        _memory.TryWrite(address, content);
        return new GuestBuffer(address, (uint)content.Length);
    }

    /// <summary>Gives the buffers of a request that came back to the allocator: for tests of very many.</summary>
    public void Free(DriverRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (!request.IsUsed) throw new InvalidOperationException("the device still has this request");
        foreach (GuestBuffer buffer in request.Readable) _allocator.Free(buffer.Address, buffer.Length);
        foreach (GuestBuffer buffer in request.Writable) _allocator.Free(buffer.Address, buffer.Length);
    }

    /// <summary>Takes back what the device used.</summary>
    /// <returns>How many requests that were.</returns>
    /// <exception cref="InvalidDataException">The device gave back what it never got, or twice: a bug of the device.</exception>
    public int Collect()
    {
        int collected = 0;
        while (Ring.TryCollect(out UsedChain used))
        {
            DriverRequest request = _requests[used.Id]
                ?? throw new InvalidDataException($"queue {Index}: the device gave back chain {used.Id}, which is not in flight");
            _requests[used.Id] = null;
            request.Used(used.Written);
            collected++;
        }
        return collected;
    }

    /// <summary>Lets go of guest memory.</summary>
    public void Dispose() => Ring.Dispose();
}
