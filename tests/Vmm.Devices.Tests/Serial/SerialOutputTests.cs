using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.Serial;

/// <summary>Outputs whose descriptors block: their reader must not hold the reactor.</summary>
public sealed class SerialOutputTests
{
    // F_GETFL and F_SETFL of fcntl(2).
    private const int GetFlags = 3, SetFlags = 4;

    [Fact]
    public async Task A_blocking_socket_without_a_reader_is_written_without_waiting()
    {
        (UnixSocket ours, UnixSocket theirs) = UnixSocket.Pair();
        using UnixSocket reader = theirs;
        int flags = MemoryCalls.Fcntl(ours.Number, GetFlags, 0);
        Assert.Equal(0, MemoryCalls.Fcntl(ours.Number, SetFlags, flags & ~FileCalls.O_NONBLOCK));
        using ISerialOutput output = SerialOutput.To(ours);
        long sent = await Task.Run(() => Fill(output), TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.InRange(sent, 1, 16 << 20);
        byte[] some = new byte[1 << 20];
        Assert.Equal(Errno.None, StreamCalls.Read(reader.Number, some, out int read));
        Assert.InRange(read, 1, some.Length);
        Assert.Equal(Errno.None, output.Write(some.AsSpan(0, 1), out _));
    }

    private static long Fill(ISerialOutput output)
    {
        long sent = 0;
        while (output.Write(new byte[1 << 16], out int written) == Errno.None) sent += written;
        return sent;
    }
}
