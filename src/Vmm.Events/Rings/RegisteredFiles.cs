namespace Vmm.Events.Rings;

/// <summary>The slots of the engine's table of files.</summary>
internal sealed class RegisteredFiles(IRingEngine engine, int filesMax)
{
    private readonly Stack<int> _free = new(Enumerable.Range(0, filesMax).Reverse());

    /// <summary>Puts a descriptor into a slot.</summary>
    /// <returns>Which; <see cref="RingFile.NotRegistered"/> if there is none, or the engine refuses.</returns>
    internal int Add(int fd)
    {
        if (!_free.TryPop(out int slot)) return RingFile.NotRegistered;
        if (engine.TryRegisterFile(slot, fd)) return slot;
        _free.Push(slot);
        return RingFile.NotRegistered;
    }

    internal void Remove(int slot)
    {
        engine.TryRegisterFile(slot, RingFile.NotRegistered);
        _free.Push(slot);
    }
}
