namespace Vmm.Events.Native;

/// <summary>What a poller reports: struct epoll_event of epoll_wait(2), which is packed on x86-64.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ReadyEvent
{
    internal uint Events;
    internal ulong Data;
}
