using System.IO.Pipes;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

public sealed class UntrustedSignalTests
{
    [Fact]
    public void A_signal_reaches_whoever_shares_the_counter()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedSignal.TryAdopt(Copy(theirs), out UntrustedSignal? ours));
        using (ours)
        {
            ours.Signal();
            ours.Signal();
            Assert.True(theirs.TryRead(out ulong count));
            Assert.Equal(2u, count);
        }
    }

    [Fact]
    public async Task A_counter_that_is_full_and_made_blocking_holds_up_no_neighbour()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedSignal.TryAdopt(Copy(theirs), out UntrustedSignal? ours));
        using (ours)
        {
            theirs.Signal(ulong.MaxValue - 1);
            FileFlags.MakeBlocking(theirs.Number);
            Task signals = Task.Run(() =>
            {
                ours.Signal();
                ours.Signal();
            }, TestContext.Current.CancellationToken);
            await signals.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public void A_thread_signals_any_number_of_times_and_takes_what_completed()
    {
        using SignalQueue queue = SignalQueue.TryCreate()!;
        using EventFd theirs = new(), others = new();
        // Far more than the kernel keeps completions for.
        for (int i = 0; i < 100_000; i++) Assert.True(queue.TrySignal(i % 2 == 0 ? theirs.Number : others.Number));
        Assert.True(theirs.TryRead(out ulong count) && others.TryRead(out ulong otherCount) && (count, otherCount) == (50_000, 50_000));
    }

    [Fact]
    public void What_is_no_eventfd_is_refused()
    {
        using SignalQueue queue = SignalQueue.TryCreate()!;
        (OwnedFd a, OwnedFd b) = UnixSocket.DatagramPair();
        using (a)
        using (b)
        using (EventFd theirs = new())
        {
            Assert.False(queue.TrySignal(a.Number));
            Assert.True(queue.TrySignal(theirs.Number));
        }
    }

    [Fact]
    public void A_signal_after_the_end_is_nothing()
    {
        using EventFd theirs = new();
        Assert.True(UntrustedSignal.TryAdopt(Copy(theirs), out UntrustedSignal? ours));
        ours.Dispose();
        ours.Signal();
        Assert.False(theirs.TryRead(out _));
    }

    [Fact]
    public void A_stream_socket_gets_the_number_one_in_8_bytes_for_each_signal()
    {
        (UnixSocket theirs, UnixSocket sent) = UnixSocket.Pair();
        using (theirs)
        {
            Assert.True(UntrustedSignal.TryAdopt(Copy(sent), out UntrustedSignal? ours));
            sent.Dispose();
            using (ours)
            {
                ours.Signal();
                ours.Signal();
                ulong[] words = new ulong[3];
                Assert.Equal(Errno.None, theirs.Receive(MemoryMarshal.AsBytes(words.AsSpan()), out uint received));
                Assert.Equal((16u, 1UL, 1UL), (received, words[0], words[1]));
            }
            // And what was adopted is closed with it.
            Assert.Equal(Errno.None, theirs.Receive(new byte[8], out uint end));
            Assert.Equal(0u, end);
        }
    }

    [Fact]
    public async Task A_socket_that_is_full_and_made_blocking_or_whose_reader_is_gone_holds_up_nothing()
    {
        (UnixSocket theirs, UnixSocket sent) = UnixSocket.Pair();
        Assert.True(UntrustedSignal.TryAdopt(Copy(sent), out UntrustedSignal? ours));
        using (ours)
        {
            FileFlags.MakeBlocking(sent.Number);
            // More than any socket's buffer holds: each 8 bytes take a buffer of the kernel of their own.
            Task signals = Task.Run(() =>
            {
                for (int i = 0; i < 100_000; i++) ours.Signal();
            }, TestContext.Current.CancellationToken);
            await signals.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            byte[] bytes = new byte[8];
            // Whole numbers only, to the last.
            while (theirs.Receive(bytes, out uint received) == Errno.None) Assert.Equal((8u, 1), (received, bytes[0]));
            theirs.Dispose();
            ours.Signal();
        }
        sent.Dispose();
    }

    [Fact]
    public void Nothing_but_an_eventfd_or_a_stream_socket_is_adopted()
    {
        string path = Path.GetTempFileName();
        using FileStream file = File.OpenWrite(path);
        using AnonymousPipeServerStream pipe = new(PipeDirection.Out);
        (OwnedFd a, OwnedFd b) = UnixSocket.DatagramPair();
        int[] others = [(int)file.SafeFileHandle.DangerousGetHandle(), (int)pipe.SafePipeHandle.DangerousGetHandle(), a.Number];
        Assert.All(others, fd => Assert.False(UntrustedSignal.TryAdopt(fd, out _)));
        a.Dispose();
        b.Dispose();
        File.Delete(path);
    }

    /// <summary>A second descriptor of the same kernel object, which only its adopter closes.</summary>
    private static int Copy(OwnedFd fd)
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        using (b)
        using (ReceivedFds received = new())
        {
            a.Send([0], [fd.Number], out _);
            b.Receive(new byte[1], received);
            return received.Take(0);
        }
    }
}
