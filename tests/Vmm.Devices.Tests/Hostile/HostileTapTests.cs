using System.Buffers.Binary;
using System.Diagnostics;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A network card on a TAP, whose headers go to the kernel.</summary>
[Collection(Alone.Name)]
[Trait("Device", "net")]
public sealed class HostileTapTests
{
    private const int Transmit = 1;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("net");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2024-11614 (DPDK: vhost, a checksum that starts outside of the packet); lengths of segments and headers that can't be")]
    [Trait("Outcome", "dropped or sent, as the kernel finds; the next frame goes")]
    public void Headers_that_ask_for_the_impossible_do_no_harm(HostileCase @case)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/dev/net/tun"), "making a TAP needs root and /dev/net/tun");
        string name = $"vmh{Guid.NewGuid():n}"[..12];
        NetDevice device = new("net0", TapInterface.Open(name));
        using SimulatedGuest guest = @case.Guest(device);
        using Neighbour neighbour = new(guest);
        using (Process ip = Process.Start("ip", ["link", "set", name, "up"])) ip.WaitForExit();
        int frames = 0;
        foreach (byte flags in (byte[])[0, 1, 2, 0xff])
        {
            foreach (byte segmentation in (byte[])[0, 1, 3, 4, 5, 0x80, 0x81, 0xff])
            {
                foreach (ushort start in (ushort[])[0, 13, 34, 60, 61, 0x7fff, ushort.MaxValue])
                {
                    byte[] packet = NetCable.Packet(NetCable.Frame(60));
                    (packet[0], packet[1]) = (flags, segmentation);
                    foreach (int field in (int[])[2, 4, 6, 8]) BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(field), start);
                    DriverRequest request = guest.Queue(Transmit).Add([packet]);
                    guest.Kick(Transmit).RunUntil(() => request.IsUsed);
                    guest.Queue(Transmit).Free(request);
                    frames++;
                }
            }
        }
        Assert.Equal((0, 0), (device.GuestFaults, device.HostFaults));
        Assert.Equal(frames, device.Statistics.Sent + device.Statistics.SendDropped);
        Assert.True(device.Statistics.SendDropped > 0);
    }
}
