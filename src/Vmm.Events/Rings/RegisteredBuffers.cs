namespace Vmm.Events.Rings;

/// <summary>The slots of the engine's table of buffers.</summary>
internal sealed class RegisteredBuffers(IRingEngine engine, int buffersMax)
{
    private readonly Stack<int> _free = new(Enumerable.Range(0, buffersMax).Reverse());

    /// <summary>Has the kernel pin memory and know it by the number of a slot.</summary>
    /// <param name="address">The first byte.</param>
    /// <param name="length">Bytes, at most 1 GiB.</param>
    /// <param name="slot">Which, if there is no error.</param>
    /// <returns>Why not: <see cref="Errno.NoSpace"/> if no slot is free, or what the engine says.</returns>
    internal Errno Add(nint address, int length, out int slot)
    {
        if (!_free.TryPop(out slot)) return Errno.NoSpace;
        Errno errno = engine.RegisterBuffer(slot, address, length);
        if (errno != Errno.None) _free.Push(slot);
        return errno;
    }

    internal void Remove(int slot)
    {
        engine.RegisterBuffer(slot, 0, 0);
        _free.Push(slot);
    }
}
