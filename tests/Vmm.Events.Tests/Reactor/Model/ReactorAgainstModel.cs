using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Model;

/// <summary>
/// A real reactor over real eventfds beside a model of it. The model does not foretell the order of a batch: it follows the handlers as
/// they
/// are called, refuses a call that must not be, and misses a call that must be.
/// </summary>
internal sealed class ReactorAgainstModel : IDisposable
{
    internal const int Sources = 6;
    /// <summary>The sources from here on belong to one subscriber.</summary>
    private const int FirstOwned = 4;

    private readonly Reactor _reactor;
    private readonly Watch?[] _watches = new Watch?[Sources];
    private readonly Step[] _plans = new Step[Sources];
    private readonly HashSet<Watch> _due = [];
    private Subscriber? _owner;
    private Exception? _surprise;
    private int _dispatches;
    private int _throws;
    private int _reports;
    private int _ghosts;
    /// <summary>Events that need not have come, of registrations that went before they could run.</summary>
    private int _ghostsPossible;
    private readonly HashSet<Watch> _possible = [];

    internal ReactorAgainstModel(ReactorOptions options) => _reactor = new Reactor(options with { OnHandlerFailure = Reported });

    internal void Apply(Step step)
    {
        switch (step.Kind)
        {
            case StepKind.Add: Add(step.Source, step.Flavour, step.Raised, _reactor); break;
            case StepKind.Modify: Modify(step.Source, step.Flavour, _reactor); break;
            case StepKind.Remove: Remove(step.Source, _reactor); break;
            case StepKind.Fire: Fire(step.Source); break;
            case StepKind.SetPlan: _plans[step.Source] = step; break;
            case StepKind.Turn: Turn(); break;
        }
        Compare();
    }

    /// <summary>Takes the reactor apart: it must hand back exactly what the model still watches.</summary>
    internal void End()
    {
        HashSet<Subscription> live = [.. _watches.OfType<Watch>().Select(watch => watch.Subscription)];
        IReadOnlyList<Subscription> handedBack = _reactor.TakeApart();
        Assert.Equal(live.Count, handedBack.Count);
        Assert.True(live.SetEquals(handedBack));
        foreach (Subscription subscription in handedBack)
        {
            Assert.False(subscription.Handle.IsClosed);
            subscription.Handle.Dispose();
        }
    }

    public void Dispose() => _reactor.Dispose();

    private void Add(int source, Flavour flavour, bool raised, IReactor reactor)
    {
        if (_watches[source] is { } present)
        {
            Assert.Throws<InvalidOperationException>(() => reactor.Add(present.Subscription));
            return;
        }
        EventFd fd = new();
        Subscription<EventFd> subscription = Watch.InterestOf(flavour).WithFd(fd).WithHandler((_, _, ops) => OnEvent(source, fd, ops));
        Subscriber? owner = source < FirstOwned ? null : _owner ??= new Subscriber("owner");
        if (owner is not null) subscription.OwnedBy(owner);
        Watch watch = new(fd, subscription, owner);
        if (raised)
        {
            fd.Signal();
            watch.Fire();
        }
        subscription.RegisterInto(reactor);
        watch.Arm(flavour);
        _watches[source] = watch;
    }

    private void Modify(int source, Flavour flavour, IReactor reactor)
    {
        if (_watches[source] is not { } watch) return;
        reactor.Modify(watch.Subscription, Watch.InterestOf(flavour));
        watch.Arm(flavour);
    }

    private void Remove(int source, IReactor reactor)
    {
        if (_watches[source] is not { } watch) return;
        Assert.True(reactor.Remove(watch.Subscription));
        Assert.False(reactor.Remove(watch.Subscription));
        Forget(source);
    }

    private void Forget(int source)
    {
        _watches[source]!.IsGone = true;
        _watches[source] = null;
    }

    private void Fire(int source)
    {
        if (_watches[source] is not { } watch) return;
        watch.Fd.Signal();
        watch.Fire();
    }

    private void Turn()
    {
        _due.Clear();
        _possible.Clear();
        foreach (Watch watch in _watches.OfType<Watch>())
        {
            if (watch.Wait()) _due.Add(watch);
            else if (watch.MayHearDrainedEdge && _reactor.Poller == PollerKind.IoRing) _possible.Add(watch);
        }
        int before = _dispatches;
        int handled = _reactor.RunOnce(TimeSpan.Zero);
        if (_surprise is not null) throw new InvalidOperationException("in a handler", _surprise);
        Assert.Equal(_dispatches - before, handled);
        foreach (Watch missed in _due)
        {
            Assert.True(missed.IsGone, $"{missed.Subscription} was due and was not called");
            _ghosts++;
        }
        _ghostsPossible += _possible.Count(watch => watch.IsGone);
    }

    private void OnEvent(int source, EventFd fd, IReactor reactor)
    {
        bool fails;
        try
        {
            fails = Follow(source, fd, reactor);
        }
        catch (Exception exception)
        {
            // A failed assertion in a handler is the model's, not the reactor's to report.
            _surprise = exception;
            return;
        }
        if (!fails) return;
        _throws++;
        throw new InvalidDataException();
    }

    /// <summary>Checks that this call may be, and does what is planned.</summary>
    /// <returns>Whether the handler throws now.</returns>
    private bool Follow(int source, EventFd fd, IReactor reactor)
    {
        Watch watch = _watches[source] ?? throw new InvalidOperationException($"{source} was called after its removal");
        Assert.Same(watch.Fd, fd);
        Assert.True(_due.Remove(watch) || _possible.Remove(watch), $"{source} was called and not due");
        _dispatches++;
        Step plan = _plans[source];
        switch (plan.Plan)
        {
            case Plan.Drain:
                Assert.Equal(watch.IsRaised, fd.TryRead(out _));
                watch.Drain();
                break;
            case Plan.RemoveSelf: Remove(source, reactor); break;
            case Plan.RemoveSelfThenThrow:
                Remove(source, reactor);
                ForgetTheOwnerOf(watch);
                return true;
            case Plan.RemoveOther: Remove(plan.Other, reactor); break;
            case Plan.AddOther: Add(plan.Other, plan.Flavour, plan.Raised, reactor); break;
            case Plan.ModifySelf: Modify(source, plan.Flavour, reactor); break;
            case Plan.ModifyOther: Modify(plan.Other, plan.Flavour, reactor); break;
            case Plan.FireSelf: Fire(source); break;
            case Plan.FireOther: Fire(plan.Other); break;
            case Plan.Throw:
                Forget(source);
                ForgetTheOwnerOf(watch);
                return true;
        }
        return false;
    }

    /// <summary>A handler that throws takes its whole subscriber with it.</summary>
    private void ForgetTheOwnerOf(Watch failed)
    {
        if (failed.Owner is null) return;
        for (int i = FirstOwned; i < Sources; i++)
        {
            if (_watches[i]?.Owner == failed.Owner) Forget(i);
        }
        _owner = null;
    }

    private void Reported(HandlerFailure failure)
    {
        _reports++;
        if (failure.Exception is not InvalidDataException) _surprise ??= failure.Exception;
    }

    private void Compare()
    {
        for (int i = 0; i < Sources; i++)
        {
            if (_watches[i] is not { } watch) continue;
            Assert.True(watch.Subscription.IsRegistered, $"{i} is gone");
            Assert.True(_reactor.TryFind(watch.Fd.Number, out Subscription? found));
            Assert.Same(watch.Subscription, found);
        }
        ReactorStatistics statistics = _reactor.Statistics;
        Assert.Equal(_dispatches, statistics.Events);
        Assert.InRange(statistics.Ghosts, _ghosts, _ghosts + _ghostsPossible);
        Assert.Equal(_throws, statistics.HandlerFailures);
        Assert.Equal(_throws, _reports);
        Assert.Equal(0, statistics.Rebuilds);
    }
}
