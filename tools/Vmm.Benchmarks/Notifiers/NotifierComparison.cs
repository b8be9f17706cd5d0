using Vmm.Events;

namespace Vmm.Benchmarks;

/// <summary>A loop is woken n times before it looks.</summary>
internal static class NotifierCycle
{
    internal static Comparison Comparison { get; } = new("notifier", "notifier",
        "a loop is notified n times, then runs one turn that learns of it once; one operation is one notification. "
        + "The baseline is an eventfd, written and read",
        [1, 64],
        [
            new("eventfd-read", n => new CountingEventFd(n)),
            new("vmm-notifier", n => new Notified(n)),
            new("vmm-doorbell", n => new Rung(n)),
        ]);

    /// <summary>Between two looks at the clock, at least.</summary>
    private const int Turns = 100;

    private abstract class Loop(int burst) : IContender
    {
        public int Quantum => burst * Turns;

        protected Reactor Reactor { get; } = new();

        protected long Noticed { get; set; }

        public void Run(long operations)
        {
            Noticed = 0;
            for (long sent = 0; sent < operations; sent += burst)
            {
                for (int i = 0; i < burst; i++) Notify();
                Reactor.RunOnce(TimeSpan.Zero);
            }
            if (Noticed != operations / burst) throw new InvalidOperationException($"noticed {Noticed} of {operations / burst} bursts");
        }

        public virtual void Dispose() => Reactor.Dispose();

        protected abstract void Notify();
    }

    private sealed class CountingEventFd : Loop
    {
        private readonly EventFd _fd = new();

        internal CountingEventFd(int burst) : base(burst) =>
            Interest.Readable.WithFd(_fd).WithCountingHandler((_, _, _) => Noticed++).RegisterInto(Reactor);

        protected override void Notify() => _fd.Signal();
    }

    private sealed class Notified : Loop
    {
        private readonly Notifier _notifier = new();

        internal Notified(int burst) : base(burst) => _notifier.Wait(Reactor, _ =>
        {
            Noticed++;
            return NotifyAction.Rearm;
        });

        public override void Dispose()
        {
            _notifier.Dispose();
            base.Dispose();
        }

        protected override void Notify() => _notifier.Notify();
    }

    private sealed class Rung : Loop
    {
        private readonly Doorbell _bell;

        internal Rung(int burst) : base(burst) => _bell = Reactor.Remote.CreateDoorbell(_ => Noticed++);

        protected override void Notify() => _bell.Ring();
    }
}
