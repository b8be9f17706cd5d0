using Vmm.Events.Native;
using Vmm.Events.Rings;

namespace Vmm.Events.Tests.Support;

/// <summary>An engine whose completions are looked at on their way to the ring, those that nobody waits for any more included.</summary>
internal class WatchedEngine(IRingEngine engine, Action<IoUringCompletion> look) : IRingEngine
{
    public string Name => engine.Name;

    public EventFd Wakeful => engine.Wakeful;

    public int EntriesMax => engine.EntriesMax;

    public virtual int Room => engine.Room;

    public virtual bool HasWork => engine.HasWork;

    public bool TakesFixedLists => engine.TakesFixedLists;

    public (long Submissions, long Overflows) Counts => engine.Counts;

    public virtual void Prepare(in IoUringEntry entry) => engine.Prepare(entry);

    public virtual void Submit() => engine.Submit();

    public bool TryTake(out IoUringCompletion completion)
    {
        bool taken = engine.TryTake(out completion);
        if (taken) look(completion);
        return taken;
    }

    public void Wait(int timeoutMs) => engine.Wait(timeoutMs);

    public void SetSignalling(bool isOn) => engine.SetSignalling(isOn);

    public bool TryRegisterFile(int slot, int fd) => engine.TryRegisterFile(slot, fd);

    public Errno RegisterBuffer(int slot, nint address, int length) => engine.RegisterBuffer(slot, address, length);

    public void Dispose() => engine.Dispose();
}
