using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Counts on what becomes of the stacks of threads: no other test starts some beside these.</summary>
[Collection(Alone.Name)]
public sealed class ThreadStackTests
{
    [Fact]
    public void Nobodys_stack_is_mine()
    {
        Assert.False(new ThreadStack().IsMine);
    }

    [Fact]
    public void A_thread_knows_its_stack_from_its_first_frame_to_a_deep_one_and_no_other_does()
    {
        ThreadStack stack = new();
        using Barrier step = new(2);
        bool ofOther = true;
        Thread other = new(() =>
        {
            step.SignalAndWait();
            ofOther = stack.IsMine;
            step.SignalAndWait();
        });
        bool ofOwner = false;
        bool isMineDeep = false;
        Thread owner = new(() =>
        {
            stack.Claim();
            ofOwner = stack.IsMine;
            isMineDeep = Descend(stack, 5_000);
            step.SignalAndWait();
            step.SignalAndWait();
        });
        owner.Start();
        other.Start();
        owner.Join();
        other.Join();
        Assert.Equal((true, true, false), (ofOwner, isMineDeep, ofOther));
        Assert.False(stack.IsMine);
    }

    [Fact]
    public void A_stack_that_was_given_back_is_nobodys()
    {
        ThreadStack stack = new();
        stack.Claim();
        stack.GiveBack();
        Assert.False(stack.IsMine);
    }

    [Fact]
    public void A_thread_that_ended_without_giving_its_stack_back_is_not_the_next_one_on_it()
    {
        ThreadStack stack = new();
        nuint claimed = 0;
        OnThread(() =>
        {
            stack.Claim();
            Libc.StackOfCallingThread(out claimed, out _);
        });
        bool isTakenForIt = false;
        bool isOnIt = false;
        // The C library keeps some stacks for the next threads.
        for (int i = 0; i < 1000 && !isOnIt; i++)
        {
            OnThread(() =>
            {
                Libc.StackOfCallingThread(out nuint lowest, out _);
                isOnIt = lowest == claimed;
                isTakenForIt = stack.IsMine;
            });
            Assert.False(isTakenForIt);
        }
        Assert.True(isOnIt, "no thread came to lie on the stack of the one that had ended");
    }

    [Fact]
    public void Only_the_upper_part_of_a_very_large_stack_is_known()
    {
        ThreadStack stack = new();
        bool isMine = false;
        nuint known = 0;
        OnThread(() =>
        {
            stack.Claim();
            isMine = stack.IsMine;
            known = Known(StackPlace.OfCallingThread);
        }, stackBytes: 256 << 20);
        Assert.Equal((true, StackPlace.BytesMax), (isMine, known));
    }

    [Fact]
    public void The_places_of_threads_that_have_ended_are_used_again()
    {
        const int threads = 400;
        int before = StackPlace.RangesMade;
        for (int i = 0; i < threads; i++)
        {
            OnThread(() => new ThreadStack().Claim());
            if (i % 20 == 0) OpenDescriptors.Settle();
        }
        Assert.InRange(StackPlace.RangesMade - before, 0, threads / 2);
    }

    [Fact]
    public void The_threads_of_the_pool_have_one_each()
    {
        Parallel.For(0, 100, _ =>
        {
            ThreadStack stack = new();
            stack.Claim();
            Assert.True(stack.IsMine);
        });
    }

    private static unsafe nuint Known(StackPlace place) => ((StackRange*)place.Range)->Bytes;

    private static void OnThread(ThreadStart body, int stackBytes = 0)
    {
        Thread thread = new(body, stackBytes);
        thread.Start();
        thread.Join();
    }

    private static bool Descend(ThreadStack stack, int frames) => frames == 0 ? stack.IsMine : Descend(stack, frames - 1) && stack.IsMine;
}
