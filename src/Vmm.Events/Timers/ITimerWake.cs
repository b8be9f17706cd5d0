namespace Vmm.Events;

/// <summary>What wakes a reactor when its first timer is due: the kernel, or a clock that a test advances.</summary>
internal interface ITimerWake : IDisposable
{
    /// <summary>Has the timers called after this time, and not at the time that was set before.</summary>
    void Set(TimeSpan due);
}
