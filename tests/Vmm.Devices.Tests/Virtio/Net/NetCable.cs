using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A network of one cable: the device at one end, the test at the other, frame by frame.</summary>
internal sealed class NetCable : IDisposable
{
    private readonly OwnedFd _host;

    internal NetCable()
    {
        (OwnedFd device, _host) = UnixSocket.DatagramPair();
        Device = NetSocket.OverDatagrams(device);
    }

    /// <summary>The device's end.</summary>
    internal NetSocket Device { get; }

    /// <summary>Sends a frame to the device.</summary>
    /// <returns>False if the cable is full.</returns>
    internal bool TrySend(byte[] frame)
    {
        Errno errno = StreamCalls.Write(_host.Number, frame, out _);
        if (errno is not (Errno.None or Errno.Again)) Assert.Fail($"{errno}");
        return errno == Errno.None;
    }

    /// <summary>The next frame of the device; null if there is none.</summary>
    internal byte[]? Receive()
    {
        byte[] frame = new byte[1 << 17];
        return StreamCalls.Read(_host.Number, frame, out int length) == Errno.None ? frame[..length] : null;
    }

    /// <summary>The last frame of the device; null if there is none.</summary>
    internal byte[]? ReceiveLast()
    {
        byte[]? last = null;
        while (Receive() is { } frame) last = frame;
        return last;
    }

    public void Dispose() => _host.Dispose();

    /// <summary>A frame to an address, with a pattern as its content.</summary>
    internal static byte[] Frame(int length, int seed = 1, string to = "ff:ff:ff:ff:ff:ff")
    {
        byte[] frame = BlockGuest.Pattern(length, seed);
        Assert.True(MacAddress.TryParse(to, out MacAddress address));
        address.CopyTo(frame);
        // No VLAN: the pattern's type could be that.
        frame[12] = 8;
        return frame;
    }

    internal static byte[] Tagged(int vlan, string to)
    {
        byte[] frame = Frame(64, to: to);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x8100);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(14), (ushort)vlan);
        return frame;
    }

    /// <summary>A header that leaves nothing undone, and a frame.</summary>
    internal static byte[] Packet(byte[] frame, int headerLength = 12) => [.. new byte[headerLength], .. frame];

    /// <summary>Gives the driver's command, and the device's answer.</summary>
    internal static byte Command(SimulatedGuest guest, byte[] command, int queue = 2)
    {
        DriverRequest request = guest.Queue(queue).Add([command], [1]);
        guest.Kick(queue).RunUntilIdle();
        Assert.True(request.IsUsed, "the device has not answered");
        Assert.Equal(1u, request.UsedLength);
        return request.Content[0];
    }
}
