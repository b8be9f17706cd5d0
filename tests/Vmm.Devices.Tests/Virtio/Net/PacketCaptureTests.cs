using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>The file that gets every frame of a card (pcap).</summary>
public sealed class PacketCaptureTests : IDisposable
{
    private const int FileHeader = 24, RecordHeader = 16;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-capture-").FullName;
    private readonly List<Errno> _stopped = [];

    private string Capture => Path.Combine(_directory, "net.pcap");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Frames_of_both_directions_are_in_the_file_as_they_were_on_the_wire()
    {
        using NetCable cable = new();
        NetDevice device = new("net0", new CapturedNetwork(cable.Device, PacketCapture.Begin(Capture, _stopped.Add)));
        byte[] sent = NetCable.Frame(100, 1), given = NetCable.Frame(200, 2);
        long before = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        using (SimulatedGuest guest = SimulatedGuest.For(device))
        {
            byte[] packet = NetCable.Packet(sent);
            DriverRequest request = guest.Queue(1).Add([packet[..20], packet[20..]]);
            guest.Kick(1).RunUntil(() => request.IsUsed);
            DriverRequest buffer = guest.Queue(0).Add(writable: [300]);
            guest.Kick(0).RunUntilIdle();
            Assert.True(cable.TrySend(given));
            guest.RunUntil(() => buffer.IsUsed);
        }
        byte[] file = File.ReadAllBytes(Capture);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Capture));
        Assert.Equal(0xa1b23c4du, BinaryPrimitives.ReadUInt32LittleEndian(file));
        int at = FileHeader;
        foreach (byte[] frame in (byte[][])[sent, given])
        {
            Assert.InRange(BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at)), before, before + 600);
            Assert.Equal(frame.Length, BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(at + 8)));
            Assert.Equal(frame.Length, BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(at + 12)));
            Assert.Equal(frame, file[(at + RecordHeader)..(at + RecordHeader + frame.Length)]);
            at += RecordHeader + frame.Length;
        }
        Assert.Equal(at, file.Length);
        Assert.Empty(_stopped);
    }

    [Fact]
    public void A_full_file_ends_with_a_whole_frame_is_reported_once_and_the_network_goes_on()
    {
        using NetCable cable = new();
        byte[] frame = NetCable.Frame(100);
        long room = FileHeader + (2 * (RecordHeader + frame.Length)) + 10;
        NetDevice device = new("net0", new CapturedNetwork(cable.Device, PacketCapture.Begin(Capture, _stopped.Add, room)));
        using SimulatedGuest guest = SimulatedGuest.For(device);
        for (int i = 0; i < 5; i++)
        {
            DriverRequest request = guest.Queue(1).Add([NetCable.Packet(frame)]);
            guest.Kick(1).RunUntil(() => request.IsUsed);
            Assert.Equal(frame, cable.Receive());
        }
        Assert.Equal([Errno.NoSpace], _stopped);
        Assert.Equal(FileHeader + (2 * (RecordHeader + frame.Length)), new FileInfo(Capture).Length);
    }

    [Fact]
    public void A_file_that_is_there_is_not_touched_and_one_that_cannot_be_made_is_refused()
    {
        File.WriteAllText(Capture, "precious");
        Assert.Contains("is there already", Assert.Throws<NetworkException>(() => PacketCapture.Begin(Capture, _stopped.Add)).Message);
        Assert.Equal("precious", File.ReadAllText(Capture));
        NetSpec spec = NetSpec.Parse($"uds={_directory}/cable,pcap={_directory}/no/such");
        Assert.Contains("cannot be made", Assert.Throws<NetworkException>(() => spec.Open("net0")).Message);
        Assert.Contains("cannot be written", Assert.Throws<NetworkException>(() => (spec with { Capture = "/dev/full" }).Open("net0")).Message);
        // What was opened before is closed again: the next one may have it.
        (spec with { Capture = null }).Open("net0").Dispose();
    }
}
