namespace Vmm.Devices.Kvm;

/// <summary>The doorbells of a transport, rung by KVM itself: a kick never leaves the kernel.</summary>
internal sealed class KvmIoEventFds(KvmVm vm) : IIoEventFds
{
    private readonly Lock _lock = new();
    private readonly Dictionary<KvmIoEvent, EventFd> _kicks = [];

    public void Add(ulong address, int width, ulong? match, EventFd kick)
    {
        KvmIoEvent io = new(address, width, match);
        lock (_lock)
        {
            if (_kicks.ContainsKey(io))
                throw new InvalidOperationException($"writes of {width} bytes at 0x{address:x} ring a doorbell already");
            vm.AddIoEvent(io, kick);
            _kicks.Add(io, kick);
        }
    }

    public bool Remove(ulong address, int width, ulong? match)
    {
        KvmIoEvent io = new(address, width, match);
        lock (_lock)
        {
            if (!_kicks.Remove(io, out EventFd? kick)) return false;
            vm.RemoveIoEvent(io, kick);
            return true;
        }
    }
}
