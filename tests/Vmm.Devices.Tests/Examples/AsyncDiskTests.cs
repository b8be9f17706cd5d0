using System.Text;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Simulation;
using Vmm.Events;
using Vmm.Examples;

namespace Vmm.Devices.Tests;

/// <summary>The device of docs/examples/AsyncDisk.</summary>
public sealed class AsyncDiskTests : IDisposable
{
    private const int MiB = 1 << 20;
    private const uint Read = 0;
    private const uint Write = 1;
    private const uint Flush = 4;

    private readonly ScratchImage _image = new(MiB);

    public void Dispose() => _image.Dispose();

    private AsyncDisk Disk(ulong bytes = MiB)
    {
        using SafeFileHandle file = File.OpenHandle(_image.Path, FileMode.Open, FileAccess.ReadWrite);
        OwnedFd image = new((int)file.DangerousGetHandle());
        file.SetHandleAsInvalid();
        return new AsyncDisk("vda", image, bytes);
    }

    private static byte[] Header(uint type, ulong sector) => [.. BitConverter.GetBytes(type), 0, 0, 0, 0, .. BitConverter.GetBytes(sector)];

    private static byte[] Random(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(bytes).NextBytes(content);
        return content;
    }

    private static DriverRequest Serve(SimulatedGuest guest, byte[][] readable, int[] writable)
    {
        DriverRequest request = guest.Queue(0).Add(readable, writable);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request;
    }

    [Fact]
    public void What_is_written_in_pieces_is_on_the_disk_and_read_in_others()
    {
        using SimulatedGuest guest = SimulatedGuest.For(Disk());
        byte[] content = Random(4096);
        DriverRequest written = Serve(guest, [Header(Write, 3), content[..100], content[100..3000], content[3000..]], [1]);
        Assert.Equal([(byte)BlockStatus.Ok], written.Written);
        Assert.Equal(content, _image.Bytes[(3 * 512)..(3 * 512 + 4096)]);
        DriverRequest read = Serve(guest, [Header(Read, 3)], [1000, 3000, 96, 1]);
        Assert.Equal([.. content, (byte)BlockStatus.Ok], read.Written);
        Assert.Equal([(byte)BlockStatus.Ok], Serve(guest, [Header(Flush, 0)], [1]).Written);
    }

    [Fact]
    public void A_request_in_more_pieces_than_one_operation_takes_is_moved_whole()
    {
        _image.Bytes = Random(MiB);
        using SimulatedGuest guest = SimulatedGuest.For(Disk());
        int[] pieces = [.. Enumerable.Repeat(384, 100), 1];
        byte[] read = Serve(guest, [Header(Read, 8)], pieces).Written;
        Assert.Equal(_image.Bytes[4096..(4096 + 38_400)], read[..^1]);
    }

    [Theory]
    [InlineData(Read, 2048, 513, BlockStatus.IoError)]
    [InlineData(Read, 2047, 1025, BlockStatus.IoError)]
    [InlineData(Read, ulong.MaxValue, 513, BlockStatus.IoError)]
    [InlineData(Read, 0, 101, BlockStatus.IoError)]
    [InlineData(11, 0, 1, BlockStatus.Unsupported)]
    public void What_the_disk_does_not_have_is_refused(uint type, ulong sector, int writable, BlockStatus status)
    {
        using SimulatedGuest guest = SimulatedGuest.For(Disk());
        DriverRequest request = Serve(guest, [Header(type, sector)], [writable]);
        Assert.Equal((byte)status, request.Content[^1]);
        Assert.Equal(writable == 1 ? 1u : 0u, request.UsedLength);
    }

    [Fact]
    public void An_image_that_was_cut_is_an_error_of_the_host()
    {
        using SimulatedGuest guest = SimulatedGuest.For(Disk(2 * MiB));
        DriverRequest request = Serve(guest, [Header(Read, 2048)], [512, 1]);
        Assert.Equal((byte)BlockStatus.IoError, request.Content[^1]);
        Assert.Equal(1, guest.Device.HostFaults);
    }

    [Fact]
    public void Two_CPUs_fill_and_verify_it()
    {
        using MemoryStream console = new();
        using DeviceHost host = new(new SimulatedBoard(), Disk());
        host.AddSerial("ttyS0", new SerialPortOptions { Script = "fill vda 42; flush vda; verify vda 42; poweroff\n"u8.ToArray(), Output = SerialOutput.To(console) });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = 2 });
        Assert.True(machine.Run(TestContext.Current.CancellationToken).Succeeded, Encoding.UTF8.GetString(console.ToArray()));
        byte[] expected = new byte[MiB];
        DiskPattern.Fill(42, 0, expected);
        Assert.Equal(expected, _image.Bytes);
    }

    [Fact]
    public void Requests_that_end_together_are_shown_together()
    {
        using SimulatedGuest guest = SimulatedGuest.For(Disk());
        DriverRequest[] requests = [.. Enumerable.Range(0, 16).Select(i => guest.Queue(0).Add([Header(Read, (ulong)i)], [512, 1]))];
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        Assert.InRange(guest.Interrupts, 1, 4);
    }

    [Fact]
    public void A_request_allocates_nothing_once_warm()
    {
        using SimulatedGuest guest = SimulatedGuest.For(Disk());
        SimulatedQueue queue = guest.Queue(0);
        GuestBuffer[] readable = [queue.Place(Header(Read, 0))];
        GuestBuffer[] writable = [queue.Place(new byte[4096]), queue.Place(new byte[1])];
        SteadyState.AllocatesNothing(() => Run(20_000));

        void Run(int requests)
        {
            for (int done = 0; done < requests;)
            {
                for (int i = 0; i < 16; i++) queue.Ring.TryAdd(readable, writable, out _);
                queue.Ring.Publish();
                guest.Kick(0);
                for (int batch = 0; batch < 16;)
                {
                    guest.Reactor.RunOnce(TimeSpan.Zero);
                    while (queue.Ring.TryCollect(out _)) batch++;
                }
                done += 16;
                guest.Driver.TakeInterrupts();
            }
        }
    }

    public static TheoryData<string, ulong> Ordeals => new(DeviceBattery.Cases);

    [Theory, MemberData(nameof(Ordeals))]
    public void It_survives_every_ordeal_on_every_ring(string check, ulong ring) =>
        new DeviceBattery(() => Disk(), new BatteryRequest(0, Header(Read, 0), 1025)
        {
            Complaint = (answer, used) => used == 1025 && answer[1024] == (byte)BlockStatus.Ok ? null : $"{used} bytes, status {answer[1024]}",
        }).Run(check, ring);
}
