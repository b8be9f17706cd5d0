using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public sealed class EventFdTests
{
    /// <summary>The most that an eventfd holds (eventfd(2)).</summary>
    private const ulong Full = ulong.MaxValue - 1;

    [Fact]
    public void Signals_add_up_until_they_are_read()
    {
        using EventFd fd = new();
        fd.Signal();
        fd.Signal(2);
        Assert.True(fd.TryRead(out ulong count));
        Assert.Equal(3u, count);
        Assert.False(fd.TryRead(out count));
        Assert.Equal(0u, count);
    }

    [Fact]
    public void A_first_value_is_readable_at_once()
    {
        using EventFd fd = new(initial: 5);
        Assert.True(fd.TryRead(out ulong count));
        Assert.Equal(5u, count);
    }

    [Fact]
    public void A_semaphore_gives_one_at_a_time()
    {
        using EventFd fd = new(initial: 2, semaphore: true);
        Assert.True(fd.TryRead(out ulong count));
        Assert.Equal(1u, count);
        Assert.True(fd.TryRead(out _));
        Assert.False(fd.TryRead(out _));
    }

    [Fact]
    public void A_signal_to_a_full_counter_counts_as_delivered()
    {
        using EventFd fd = new();
        fd.Signal(Full);
        fd.Signal();
        Assert.True(fd.TryRead(out ulong count));
        Assert.Equal(Full, count);
    }

    [Fact]
    public void A_signal_of_more_than_a_counter_holds_is_refused()
    {
        using EventFd fd = new();
        Assert.Equal(Errno.Invalid, Assert.Throws<KernelException>(() => fd.Signal(ulong.MaxValue)).Errno);
    }

    [Fact]
    public void A_duplicate_shares_the_counter()
    {
        using EventFd fd = new();
        using EventFd other = fd.Duplicate();
        other.Signal(7);
        fd.Dispose();
        Assert.True(other.TryRead(out ulong count));
        Assert.Equal(7u, count);
    }

    [Fact]
    public void An_adopted_descriptor_becomes_non_blocking_and_is_closed_by_its_new_owner()
    {
        using EventFd original = new(initial: 3);
        using EventFd adopted = EventFd.Adopt(Posix.Duplicate(original.Number));
        Assert.True(adopted.TryRead(out ulong count));
        Assert.Equal(3u, count);
        Assert.False(adopted.TryRead(out _));
    }

    [Fact]
    public void A_number_that_is_not_open_cannot_be_adopted() =>
        Assert.Equal(Errno.BadDescriptor, Assert.Throws<KernelException>(() => EventFd.Adopt(900_000)).Errno);
}
