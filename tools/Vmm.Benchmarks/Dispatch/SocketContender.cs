using System.Net.Sockets;

namespace Vmm.Benchmarks;

/// <summary>
/// What .NET offers without a reactor of ours: an eventfd behind a <see cref="Socket"/>, received from with the default completion on
/// the thread pool. Each completion fires the next event.
/// </summary>
internal sealed class SocketContender : IContender
{
    private readonly FiringPattern _pattern;
    private readonly EventFd[] _fds;
    private readonly int[] _numbers;
    private readonly Socket[] _sockets;
    private readonly ManualResetEventSlim _done = new();
    private long _remaining;
    private int _leftInPass;

    internal SocketContender(int count, FiringPattern pattern)
    {
        _pattern = pattern;
        _fds = FiringPattern.CreateEventFds(count);
        _numbers = [.. _fds.Select(fd => fd.Number)];
        _sockets = [.. _numbers.Select(fd => new Socket(new SafeSocketHandle(fd, ownsHandle: false)))];
        foreach (Socket socket in _sockets)
        {
            SocketAsyncEventArgs args = new() { UserToken = socket };
            args.SetBuffer(new byte[sizeof(ulong)]);
            args.Completed += (_, completed) => Completed(completed);
            Receive(args);
        }
    }

    public int Quantum => _pattern.IsAllAtOnce ? _numbers.Length : 1;

    public void Run(long operations)
    {
        _done.Reset();
        _remaining = operations;
        FireNext();
        _done.Wait();
    }

    public void Dispose()
    {
        foreach (Socket socket in _sockets) socket.Dispose();
        foreach (EventFd fd in _fds) fd.Dispose();
        _done.Dispose();
    }

    private void FireNext()
    {
        if (!_pattern.IsAllAtOnce)
        {
            FiringPattern.Fire(_numbers[_pattern.FirstHot(_numbers.Length) + (int)(_remaining % _pattern.Hot)]);
            return;
        }
        Volatile.Write(ref _leftInPass, _numbers.Length);
        foreach (int fd in _numbers) FiringPattern.Fire(fd);
    }

    private void Completed(SocketAsyncEventArgs args)
    {
        // Closed: the contender is being disposed.
        if (args.SocketError != SocketError.Success) return;
        Receive(args);
        if (_pattern.IsAllAtOnce && Interlocked.Decrement(ref _leftInPass) != 0) return;
        _remaining -= Quantum;
        if (_remaining > 0) FireNext();
        else _done.Set();
    }

    private void Receive(SocketAsyncEventArgs args)
    {
        Socket socket = (Socket)args.UserToken!;
        if (!socket.ReceiveAsync(args)) Completed(args);
    }
}
