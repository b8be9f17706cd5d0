using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Tasks;

public sealed class ReadyQueueTests
{
    /// <summary>Each task is in the queue once at most, as the queue asks; the model is the queue of the runtime.</summary>
    [Fact]
    public void Tasks_come_out_in_the_order_they_went_in_however_it_wraps_and_grows()
    {
        Random random = new(TestSeed.Take());
        using Reactor reactor = new();
        ReactorTasks tasks = ReactorTasks.Of(reactor);
        ReadyQueue queue = new();
        Queue<TaskCell> model = new();
        List<TaskCell> idle = [];
        for (int step = 0; step < 20_000; step++)
        {
            if (step % 50 == 0)
            {
                idle.Add(StateMachineCell<FailedAtOnce, int>.Rent(tasks));
                queue.Reserve(idle.Count + model.Count);
            }
            if (random.Next(2) == 0 && idle.Count > 0)
            {
                int pick = random.Next(idle.Count);
                queue.Add(idle[pick]);
                model.Enqueue(idle[pick]);
                idle.RemoveAt(pick);
            }
            else if (model.TryDequeue(out TaskCell? expected))
            {
                Assert.Same(expected, queue.Take());
                idle.Add(expected);
            }
            Assert.Equal(model.Count, queue.Count);
        }
    }
}
