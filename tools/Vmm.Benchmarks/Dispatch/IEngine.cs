namespace Vmm.Benchmarks;

/// <summary>A single-threaded loop that watches eventfds and counts their events, fired by the thread that turns it.</summary>
internal interface IEngine : IDisposable
{
    /// <summary>Waits for events and handles those of one batch.</summary>
    /// <returns>How many.</returns>
    int Turn();
}

/// <summary>Makes the engines that are compared.</summary>
internal static class Engines
{
    internal delegate IEngine Factory(EventFd[] fds, int fdsPerSubscriber);

    internal static IReadOnlyList<(string Name, Factory Create)> All { get; } =
    [
        ("dictionary-3", (fds, perSubscriber) => new ThreeDictionaries(fds, perSubscriber)),
        ("dictionary-1", (fds, _) => new OneDictionary(fds)),
        ("vmm-epoll-read", (fds, perSubscriber) => new ReactorEngine(fds, perSubscriber, drain: true, new ReactorOptions())),
        ("vmm-epoll", (fds, perSubscriber) => new ReactorEngine(fds, perSubscriber, drain: false, new ReactorOptions())),
        ("vmm-ring",
            (fds, perSubscriber) => new ReactorEngine(fds, perSubscriber, drain: false, new ReactorOptions { Poller = PollerKind.IoRing })),
    ];
}
