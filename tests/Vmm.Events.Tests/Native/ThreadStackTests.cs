using Vmm.Events.Native;

namespace Vmm.Events.Tests.Native;

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
    public void The_threads_of_the_pool_have_one_each()
    {
        Parallel.For(0, 100, _ =>
        {
            ThreadStack stack = new();
            stack.Claim();
            Assert.True(stack.IsMine);
        });
    }

    private static bool Descend(ThreadStack stack, int frames) => frames == 0 ? stack.IsMine : Descend(stack, frames - 1) && stack.IsMine;
}
