using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>The devices of a machine that is put away and brought back.</summary>
public sealed class SavedHostTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Every_device_goes_on_where_it_stood(int reactors)
    {
        FaultyBackend disk = new();
        DeviceHostOptions options = new() { Reactors = reactors };
        using DeviceHost before = new(new TestBoard(), options, new BlockDevice("vda", disk, new DiskSpec { Queues = 4 }), new EntropyDevice("rng0"));
        using HostedGuest guest = new(before);
        SimulatedQueue[] requests = guest.Start(0);
        SimulatedQueue random = guest.Start(1)[0];
        DriverRequest first = requests[3].Read(0);
        guest.Driver(0).Kick(3);
        HostedGuest.WaitFor(requests[3]);
        // Made available, and never kicked for: in the next process nothing but a look at the ring finds it.
        Assert.True(before.PauseAsync().Wait(Patience));
        DriverRequest[] pending = [requests[0].Read(1), requests[3].Read(2), random.Add(writable: [100])];
        byte[] state = SavedState.Written(before.Save);

        using DeviceHost after = new(new TestBoard(before.Memory), options, new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 4 }),
            new EntropyDevice("rng0"));
        Restore(after, state);
        Assert.DoesNotContain(pending, request => request.IsUsed);
        // The driver never acknowledged the first interrupt: its line is up again.
        Assert.Equal(1, ((TestBoard)after.Board).InterruptsOn(after.Devices[0].Line));
        Assert.Equal(VirtioMmioDriver.UsedBuffersInterrupt, HostedGuest.DriverOn(after, 0).TakeInterrupts());
        Assert.True(after.ResumeAsync().Wait(Patience));
        foreach (SimulatedQueue queue in (SimulatedQueue[])[requests[0], requests[3], random]) HostedGuest.WaitFor(queue);
        Assert.Equal(BlockStatus.Ok, first.Status());
        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok, 100u), (pending[0].Status(), pending[1].Status(), pending[2].UsedLength));
        DriverRequest last = requests[3].Read(3);
        HostedGuest.DriverOn(after, 0).Kick(3);
        HostedGuest.WaitFor(requests[3]);
        Assert.Equal(BlockStatus.Ok, last.Status());

        // The machine that was saved goes on too: here nothing is left for it to do.
        HostedGuest.DriverOn(after, 0).Reset();
        HostedGuest.WaitFor(() => HostedGuest.DriverOn(after, 0).Status == DeviceStatus.None, "the reset");
    }

    [Fact]
    public void Interrupt_lines_that_were_down_stay_down()
    {
        using DeviceHost before = new(new TestBoard(), new EntropyDevice("rng0"));
        using HostedGuest guest = new(before);
        guest.Start(0);
        byte[] state = Save(before);
        using DeviceHost after = new(new TestBoard(before.Memory), new EntropyDevice("rng0"));
        Restore(after, state);
        Assert.Equal(0, ((TestBoard)after.Board).InterruptsOn(after.Devices[0].Line));
    }

    [Fact]
    public void A_machine_of_other_devices_is_refused_and_says_which_differ()
    {
        using DeviceHost before = new(new TestBoard(), new EntropyDevice("rng0"), new BalloonDevice("balloon0"));
        before.AddSerial("ttyS0");
        byte[] state = Save(before);
        Assert.Equal("state.devices are those of another machine: it had 'balloon0', which this one does not have; it did not have 'rng1', 'vda'",
            Refusal(state, host => host.AddSerial("ttyS0"), new EntropyDevice("rng0"), new EntropyDevice("rng1"), new BlockDevice("vda", new FaultyBackend())));
        Assert.Equal("state.serial-ports are those of another machine: it had 'ttyS0', which this one does not have",
            Refusal(state, _ => { }, new EntropyDevice("rng0"), new BalloonDevice("balloon0")));
        Assert.Equal("state.serial-ports[0].port is 0x3f8, and 'ttyS0' is at 0x2f8 here",
            Refusal(state, host => host.AddSerial("ttyS0", new SerialPortOptions { Port = 0x2f8 }), new EntropyDevice("rng0"), new BalloonDevice("balloon0")));
        Assert.Equal("state.devices[1].slot is 1, and 'balloon0' is at 0 here: add the devices in the same order",
            Refusal(state, host => host.AddSerial("ttyS0"), new BalloonDevice("balloon0"), new EntropyDevice("rng0")));
        Assert.Equal("state.devices[1].type is Balloon, and 'balloon0' is Entropy here",
            Refusal(state, host => host.AddSerial("ttyS0"), new EntropyDevice("rng0"), new EntropyDevice("balloon0")));
    }

    [Fact]
    public void Two_devices_of_one_name_are_refused()
    {
        using DeviceHost before = new(new TestBoard(), new EntropyDevice("rng0"), new EntropyDevice("rng1"));
        byte[] state = SavedState.Changed(Save(before), root => root["devices"]![1]!["name"] = "rng0");
        Assert.Equal("state.devices[1].name is 'rng0', as another one's", Refusal(state, _ => { }, new EntropyDevice("rng0"), new EntropyDevice("rng1")));
    }

    [Fact]
    public void A_machine_that_runs_is_not_saved()
    {
        using DeviceHost host = new(new TestBoard(), new EntropyDevice("rng0"));
        using HostedGuest guest = new(host);
        guest.Start(0);
        HostedGuest.WaitFor(() => Save(null) is { } refusal && refusal.StartsWith("rng0 is not paused: pause the machine", StringComparison.Ordinal), "the queue's start");
        Assert.True(host.PauseAsync().Wait(Patience));
        Assert.Null(Save(null));

        string? Save(string? nothing)
        {
            try
            {
                SavedState.Written(host.Save);
                return nothing;
            }
            catch (StateException refused)
            {
                return refused.Message;
            }
        }
    }

    [Fact]
    public void A_request_that_hangs_in_storage_is_named_and_not_lost()
    {
        FaultyBackend disk = new() { Holds = true };
        using DeviceHost host = new(new TestBoard(), new BlockDevice("vda", disk));
        using HostedGuest guest = new(host);
        SimulatedQueue requests = guest.Start(0)[0];
        DriverRequest read = requests.Read(0);
        guest.Driver(0).Kick(0);
        HostedGuest.WaitFor(() => disk.Held == 1, "the request at the backend");
        Task paused = host.PauseAsync();
        Assert.Contains("vda is not paused", Assert.Throws<StateException>(() => SavedState.Written(host.Save)).Message, StringComparison.Ordinal);
        disk.Holds = false;
        host.Devices[0].Reactor.Invoke(_ => disk.CompleteHeld());
        Assert.True(paused.Wait(Patience));
        SavedState.Written(host.Save);
        HostedGuest.WaitFor(requests);
        Assert.Equal(BlockStatus.Ok, read.Status());
    }

    [Fact]
    public void What_a_guest_printed_last_comes_out_in_the_next_process()
    {
        using MemoryStream console = new();
        using DeviceHost before = new(new TestBoard(), new DeviceHostOptions { StopTimeout = TimeSpan.FromMilliseconds(50) });
        // The host side takes nothing.
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        while (StreamCalls.Write(device.Number, new byte[4096], out _) == Errno.None)
        {
        }
        before.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(device) });
        foreach (byte each in "hello"u8.ToArray()) before.Board.Ports.Write(0x3f8, [each]);
        byte[] state = Save(before);
        using (DeviceHost after = new(new TestBoard()))
        {
            after.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(console) });
            Restore(after, state);
            Assert.True(after.Serials[0].Backend.WaitForOutput(Patience));
        }
        Assert.Equal("hello", Encoding.ASCII.GetString(console.ToArray()));
    }

    [Fact]
    public void What_it_takes_is_said_and_a_host_that_was_refused_can_be_disposed()
    {
        using DeviceHost before = new(new TestBoard(), new BlockDevice("vda", new FaultyBackend()), new EntropyDevice("rng0"), new BalloonDevice("balloon0"),
            new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)));
        using HostedGuest guest = new(before);
        for (int i = 0; i < 4; i++) guest.Start(i);
        Assert.True(before.PauseAsync().Wait(Patience));
        byte[] state = [];
        TimeSpan saved = TimeSpan.MaxValue, restored = TimeSpan.MaxValue;
        for (int round = 0; round < 10; round++)
        {
            long start = Stopwatch.GetTimestamp();
            state = SavedState.Written(before.Save);
            TimeSpan took = Stopwatch.GetElapsedTime(start);
            saved = took < saved ? took : saved;
            using DeviceHost after = new(new TestBoard(before.Memory), new BlockDevice("vda", new FaultyBackend()), new EntropyDevice("rng0"), new BalloonDevice("balloon0"),
                new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)));
            start = Stopwatch.GetTimestamp();
            Restore(after, state);
            took = Stopwatch.GetElapsedTime(start);
            restored = took < restored ? took : restored;
        }
        output.WriteLine($"4 devices: {state.Length} bytes, saved in {saved.TotalMilliseconds:N2} ms, restored in {restored.TotalMilliseconds:N2} ms");
        Assert.Contains("state.devices[3].device.ports", Refusal(SavedState.Changed(state, root => root["devices"]![3]!["device"]!["ports"] = new JsonArray()), _ => { },
            new BlockDevice("vda", new FaultyBackend()), new EntropyDevice("rng0"), new BalloonDevice("balloon0"), new ConsoleDevice("console0", new ConsolePort("console", isConsole: true))),
            StringComparison.Ordinal);
    }

    private static byte[] Save(DeviceHost host)
    {
        Assert.True(host.PauseAsync().Wait(Patience));
        return SavedState.Written(host.Save);
    }

    private static void Restore(DeviceHost host, byte[] state)
    {
        StateReader reader = StateReader.Parse(state, "state");
        host.Restore(reader);
        reader.Complete();
    }

    private static string Refusal(byte[] state, Action<DeviceHost> add, params VirtioDevice[] devices)
    {
        using DeviceHost host = new(new TestBoard(), devices);
        add(host);
        return Assert.Throws<StateException>(() => Restore(host, state)).Message;
    }
}
