namespace Vmm.Devices.Simulation;

/// <summary>A chain a <see cref="SimulatedQueue"/> made available, and what became of it.</summary>
public sealed class DriverRequest
{
    private readonly GuestMemory _memory;

    internal DriverRequest(GuestMemory memory, GuestBuffer[] readable, GuestBuffer[] writable)
    {
        _memory = memory;
        Readable = readable;
        Writable = writable;
    }

    /// <summary>The buffers the device reads.</summary>
    public IReadOnlyList<GuestBuffer> Readable { get; }

    /// <summary>The buffers the device writes.</summary>
    public IReadOnlyList<GuestBuffer> Writable { get; }

    /// <summary>Whether the device gave it back.</summary>
    public bool IsUsed { get; private set; }

    /// <summary>Bytes the device says it wrote; 0 until it gave the request back.</summary>
    public uint UsedLength { get; private set; }

    /// <summary>What the writable buffers hold now, one after the other, all of them whatever the device says it wrote.</summary>
    public byte[] Content
    {
        get
        {
            byte[] content = new byte[Writable.Sum(buffer => (long)buffer.Length)];
            int done = 0;
            foreach (GuestBuffer buffer in Writable)
            {
                if (!_memory.TryRead(buffer.Address, content.AsSpan(done, (int)buffer.Length)))
                    throw new InvalidOperationException($"the buffer at 0x{buffer.Address:x} is not in guest memory");
                done += (int)buffer.Length;
            }
            return content;
        }
    }

    /// <summary>The bytes the device says it wrote.</summary>
    public byte[] Written => Content[..(int)UsedLength];

    internal void Used(uint length)
    {
        IsUsed = true;
        UsedLength = length;
    }
}
