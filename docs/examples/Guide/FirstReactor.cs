using Vmm.Events;

namespace Vmm.Examples.Guide;

/// <summary>Guide 1: an eventfd, a timer and another thread, on one reactor.</summary>
public static class FirstReactor
{
    public static IReadOnlyList<string> Run()
    {
        List<string> seen = [];
        using ReactorThread thread = new(new ReactorOptions { Name = "first" });
        thread.Start();
        EventFd kick = new();
        using ManualResetEventSlim kicked = new(), due = new();

        // What a reactor watches is added on its own thread. From now on the descriptor is the reactor's, which closes it.
        thread.Remote.Invoke(reactor =>
        {
            Interest.Kick.WithFd(kick).WithHandler(_ =>
            {
                seen.Add("kicked");
                kicked.Set();
            }).RegisterInto(reactor);
            ReactorTimers.Of(reactor).Create((_, _) =>
            {
                seen.Add("due");
                due.Set();
            }).Arm(TimeSpan.FromMilliseconds(20));
        });
        due.Wait();

        // From any thread: ring a descriptor, or run a function over there and wait for its result.
        kick.Signal();
        kicked.Wait();
        int count = thread.Remote.Invoke(_ => seen.Count);
        return [.. seen, $"{count} handlers ran"];
    }
}
