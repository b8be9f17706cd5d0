namespace Vmm.Devices.Tests;

/// <summary>A thread that gives up rights, which end with it.</summary>
internal static class SandboxThread
{
    internal static void Run(Action action)
    {
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                action();
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null) throw new InvalidOperationException("the thread failed", failure);
    }
}
