using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>The row of the table that needs one certain number.</summary>
[Collection(Alone.Name)]
public abstract class SameNumberTests : ReactorSuite
{
    [Fact]
    public void Remove_other_then_add_the_same_fd_number_works()
    {
        int old = 0, young = 0;
        Subscription<EventFd>? self = null, other = null, replacement = null;
        self = WatchRaised(Replace);
        other = WatchRaised((_, _) => old++);
        Turn();
        Assert.Equal(-1, other.SlotIndex);
        Assert.Equal(0, old + young);
        Assert.True(Reactor.TryFind(replacement!.Fd.Number, out Subscription? found));
        Assert.Same(replacement, found);
        Turn();
        Assert.Equal(1, young);

        void Replace(EventFd fd, IReactor reactor)
        {
            reactor.Remove(self!);
            int number = other!.Fd.Number;
            reactor.Remove(other);
            List<EventFd> strays = [];
            EventFd fresh = new(initial: 1);
            while (fresh.Number != number)
            {
                strays.Add(fresh);
                Assert.True(strays.Count < 1024, $"descriptor {number} was not given out again");
                fresh = new EventFd(initial: 1);
            }
            strays.ForEach(stray => stray.Dispose());
            replacement = Interest.Kick.WithFd(fresh).WithHandler(_ => young++).RegisterInto(reactor);
        }
    }
}

[Collection(Alone.Name)]
public sealed class SameNumberOnEpollTests : SameNumberTests;

[Collection(Alone.Name)]
public sealed class SameNumberOnIoRingTests : SameNumberTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
