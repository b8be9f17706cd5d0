namespace Vmm.Events.Tests.Support;

/// <summary>A pipe: its write end tells whether the read end is really closed, whatever became of the number.</summary>
internal sealed unsafe class Pipe : IDisposable
{
    private readonly OwnedFd _write;

    internal Pipe()
    {
        int* ends = stackalloc int[2];
        Assert.Equal(0, Posix.Pipe(ends, Posix.NonBlocking | Posix.CloseOnExec));
        Read = new OwnedFd(ends[0]);
        _write = new OwnedFd(ends[1]);
    }

    internal OwnedFd Read { get; }

    internal bool IsReadEndOpen
    {
        get
        {
            Posix.PollFd poll = new() { Fd = _write.Number, Events = Posix.PollOut };
            Assert.True(Posix.Poll(&poll, 1, 0) >= 0);
            return (poll.Revents & Posix.PollError) == 0;
        }
    }

    internal void Fill()
    {
        byte one = 1;
        Assert.Equal(1, Posix.Write(_write.Number, &one, 1));
    }

    internal void CloseWriteEnd() => _write.Dispose();

    public void Dispose()
    {
        Read.Dispose();
        _write.Dispose();
    }
}
