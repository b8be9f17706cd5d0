namespace Vmm.Events;

/// <summary>
/// What an <see cref="EventFd"/> does, for tests of handlers that get one: a mock of this behind <see cref="EventFd.Of"/> sees each signal,
/// and says what is read.
/// </summary>
public interface IEventCounter
{
    /// <inheritdoc cref="EventFd.Signal"/>
    void Signal(ulong count);

    /// <inheritdoc cref="EventFd.TryRead"/>
    bool TryRead(out ulong count);
}
