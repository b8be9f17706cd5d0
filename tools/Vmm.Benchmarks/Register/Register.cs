namespace Vmm.Benchmarks;

/// <summary>Stops watching one eventfd and starts again, with n watched.</summary>
internal static class Register
{
    internal static Comparison Comparison { get; } = new("register", "register",
        "one eventfd of n is removed and added again; the baseline is the two epoll_ctl calls",
        [1, 1_000],
        [
            new("c-epoll", n => new CRegistration(n)),
            new("dictionary-3", n => new DictionaryRegistration(n)),
            new("vmm-epoll", n => new ReactorRegistration(n, new ReactorOptions())),
            new("vmm-ring", n => new ReactorRegistration(n, new ReactorOptions { Poller = PollerKind.IoRing })),
        ])
    { DescriptorsFor = n => n };

    private sealed class CRegistration(int count) : IContender
    {
        private readonly nint _baseline = CompiledBaseline.Create(count);

        public void Run(long operations) => CompiledBaseline.Register(_baseline, operations);

        public void Dispose() => CompiledBaseline.Destroy(_baseline);
    }

    private sealed class ReactorRegistration : IContender
    {
        private readonly Reactor _reactor;
        private readonly Subscription<EventFd> _subscription;

        internal ReactorRegistration(int count, ReactorOptions options)
        {
            _reactor = new Reactor(options);
            Subscription<EventFd>[] subscriptions =
                [.. FiringPattern.CreateEventFds(count)
                    .Select(fd => Interest.Kick.WithFd(fd).WithHandler(_ => { }).RegisterInto(_reactor))];
            _subscription = subscriptions[count / 2];
            // From its first turn on the reactor works as it will: a ring is enabled by then.
            _reactor.RunOnce(TimeSpan.Zero);
        }

        public void Run(long operations)
        {
            for (long i = 0; i < operations; i++)
            {
                _reactor.Detach(_subscription);
                _reactor.Add(_subscription);
            }
        }

        public void Dispose() => _reactor.Dispose();
    }

    private sealed class DictionaryRegistration : IContender
    {
        private readonly EpollPoller _poller = new(1024);
        private readonly Dictionary<int, int> _idOfFd = [];
        private readonly Dictionary<int, EventSubscriber> _subscriberOfId = [];
        private readonly Dictionary<int, EventFd> _watched = [];
        private readonly EventFd _fd;

        internal DictionaryRegistration(int count)
        {
            EventFd[] fds = FiringPattern.CreateEventFds(count);
            foreach (EventFd fd in fds) Add(fd, new CountingSubscriber([fd]));
            _fd = fds[count / 2];
        }

        public void Run(long operations)
        {
            for (long i = 0; i < operations; i++)
            {
                int number = _fd.Number;
                _poller.Remove(number, 0);
                _watched.Remove(number);
                _idOfFd.Remove(number, out int id);
                _subscriberOfId.Remove(id, out EventSubscriber? subscriber);
                Add(_fd, subscriber!);
            }
        }

        public void Dispose()
        {
            _poller.Dispose();
            foreach (EventFd fd in _watched.Values) fd.Dispose();
        }

        private void Add(EventFd fd, EventSubscriber subscriber)
        {
            int number = fd.Number;
            _poller.Add(number, Interest.Kick.Bits, (ulong)number);
            _watched.Add(number, fd);
            _idOfFd.Add(number, number);
            _subscriberOfId.Add(number, subscriber);
        }
    }
}
