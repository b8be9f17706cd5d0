using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// A network card with a control queue on a real socket, whose far end sends frames of any size, reads or does not, and pulls the cable.
/// </summary>
internal sealed class FuzzedNet : FuzzedDevice
{
    private const int HeaderBytes = 12;
    private const int FrameBytes = 60;
    private const int FrameBytesMax = 1 << 16;
    private const int UsualBytesMax = 2048;
    private const int Receive = 0, Transmit = 1, Control = 2;

    private static readonly byte[] Broadcast = [.. Enumerable.Repeat((byte)0xff, 6), .. new byte[6], 8, .. new byte[FrameBytes - 13]];

    private readonly byte[] _frame = new byte[FrameBytesMax];
    private readonly byte[] _taken = new byte[1 << 17];
    private NetDevice? _device;
    private OwnedFd? _host;
    /// <summary>The device's end once more, to take away what it was sent and has not read.</summary>
    private OwnedFd? _sent;

    internal override IReadOnlyList<BatteryRequest> Proofs =>
    [
        new(Transmit, [.. new byte[HeaderBytes], .. Broadcast], 0) { Complaint = (_, used) => used == 0 && Take(_host!) == FrameBytes
            ? null : "the frame did not come out" },
        new(Receive, [], 1526)
        {
            Provoke = _ => StreamCalls.Write(_host!.Number, Broadcast, out int _),
            Complaint = (content, used) => used == HeaderBytes + FrameBytes && content.AsSpan(HeaderBytes, FrameBytes)
                .SequenceEqual(Broadcast) ? null : $"{used} bytes used",
        },
        new(Control, [0, 0, 1], 1) { Complaint = (content, used) => used == 1 && content[0] == 0 ? null : $"answer {content[0]}" },
    ];

    internal override VirtioDevice Make()
    {
        (OwnedFd device, _host) = UnixSocket.DatagramPair();
        _sent = device.Duplicate();
        return _device = new NetDevice("net0", NetSocket.OverDatagrams(device));
    }

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        switch (queue)
        {
            case Transmit:
                // A header that leaves work undone, and a frame.
                request[..HeaderBytes].Clear();
                if (input.OneIn(2)) input.Fill(request[..HeaderBytes]);
                int length = input.UInt16() % (DeviceTarget.RequestBytesMax - HeaderBytes);
                request.Slice(HeaderBytes, length).Fill(input.Byte());
                return HeaderBytes + length;
            case Control:
                // Class, command, and numbers: addresses to filter, VLANs, pairs, offloads.
                (request[0], request[1]) = ((byte)input.Next(7), (byte)input.Next(7));
                int argument = input.Next(64);
                input.Fill(request.Slice(2, argument));
                if (input.OneIn(4)) BitConverter.TryWriteBytes(request[2..], (uint)input.Interesting());
                return 2 + argument;
            default:
                return 0;
        }
    }

    internal override void HostActs(FuzzInput input)
    {
        switch (input.Next(8))
        {
            case 0: _device!.IsLinkUp = !_device.IsLinkUp; return;
            case 1: _device!.Announce(); return;
            case 2 or 3: Take(_host!); return;
            default:
                Span<byte> frame = _frame.AsSpan(0, input.UInt16() % (input.OneIn(32) ? FrameBytesMax : UsualBytesMax));
                // To the guest, to all stations, to another one; with a VLAN at times.
                for (int i = 0; i < Math.Min(frame.Length, 18); i++) frame[i] = input.OneIn(2) ? (byte)0xff : input.Byte();
                for (int times = input.OneIn(16) ? input.Byte() : 1; times > 0; times--) StreamCalls.Write(_host!.Number, frame, out _);
                return;
        }
    }

    internal override void HostFinishes()
    {
        _device!.IsLinkUp = true;
        Take(_host!);
        Take(_sent!);
    }

    internal override void HostEnds()
    {
        _host!.Dispose();
        _sent!.Dispose();
    }

    /// <summary>Reads every frame there is.</summary>
    /// <returns>The length of the last one; 0 if there was none.</returns>
    private int Take(OwnedFd end)
    {
        int last = 0;
        // Some have no byte at all.
        while (StreamCalls.Read(end.Number, _taken, out int length) == Errno.None) last = length;
        return last;
    }
}
