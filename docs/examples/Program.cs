using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Examples.EchoServer;
using Vmm.Examples.FourEventDevice;
using Vmm.Examples.Guide;
using Vmm.Examples.OwnOperation;
using Vmm.Examples.Relay;
using Vmm.Examples.Reload;

namespace Vmm.Examples;

/// <summary>Runs one example: <c>dotnet run --project docs/examples -- NAME</c>. Without a name it lists them.</summary>
internal static class Program
{
    private const int DiskBytes = 1 << 20;
    private const string FillAndVerify = "fill vda 42; flush vda; verify vda 42; poweroff\n";

    private static readonly SortedDictionary<string, Action> Examples = new(StringComparer.Ordinal)
    {
        ["async-disk"] = () => WithImage(image => Simulate(new AsyncDisk("vda", Open(image), DiskBytes))),
        ["echo-server"] = Echo,
        ["file-copy"] = () => WithImage(image =>
        {
            using ReactorThread thread = new();
            thread.Start();
            Say($"copied {FileCopy.CopyAsync(thread, image, image + ".copy").GetAwaiter().GetResult()} bytes");
            File.Delete(image + ".copy");
        }),
        ["first-reactor"] = () => Say(string.Join(", ", FirstReactor.Run().Order())),
        ["four-event-device"] = Line,
        ["hosted-machine"] = () => WithImage(Host),
        ["own-backend"] = () => WithImage(image => Simulate(new BlockDevice("vda", new StreamDisk(File.Open(image, FileMode.Open))))),
        ["own-operation"] = () => WithImage(Peek),
        ["relay"] = Relay,
        ["reload"] = Reload,
        ["saved-device"] = Sum,
    };

    private static int Main(string[] arguments)
    {
        if (arguments.Length == 1 && Examples.TryGetValue(arguments[0], out Action? run))
        {
            run();
            return 0;
        }
        Console.WriteLine($"examples: {string.Join(' ', Examples.Keys)}");
        return arguments.Length == 0 ? 0 : 1;
    }

    private static void Echo()
    {
        using ReactorThread thread = new();
        thread.Start();
        IPEndPoint address = thread.Remote.Invoke(reactor =>
        {
            EchoServer.EchoServer server = new(new IPEndPoint(IPAddress.Loopback, 0));
            server.Listener.RegisterInto(reactor);
            return server.Address;
        });
        using TcpClient peer = new();
        peer.Connect(address);
        peer.GetStream().Write("hello"u8);
        byte[] answer = new byte["hello".Length];
        peer.GetStream().ReadExactly(answer);
        Say($"sent hello, got {System.Text.Encoding.UTF8.GetString(answer)}");
    }

    private static void Line()
    {
        using Reactor reactor = new();
        using LineDevice device = new();
        device.RegisterInto(reactor);
        Say($"idle: {device.Subscriptions.Count} event is watched");
        Ring(device.ActivateEvent);
        Say($"active: {device.Subscriptions.Count} events are watched");
        foreach (byte value in "abc"u8) device.ToDevice.Enqueue(value);
        Ring(device.TransmitEvent);
        Ring(device.ReceiveEvent);
        Say($"transmitted abc, received {string.Concat(device.ToDriver.Select(value => (char)value))}");
        Ring(device.ResetEvent);
        Say($"reset: {device.Subscriptions.Count} event is watched");

        void Ring(EventFd fd)
        {
            fd.Signal();
            reactor.RunOnce(TimeSpan.FromSeconds(10));
        }
    }

    private static void Relay()
    {
        using Reactor reactor = new();
        using EventFd call = new();
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using Socket peer = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        UnixDomainSocketEndPoint address = new($"\0vmm-relay-{Environment.ProcessId}");
        listener.Bind(address);
        listener.Listen();
        peer.Connect(address);
        EventFd kick = new();
        KickRelay relay = new(call);
        relay.Start(reactor, kick, new SocketFd(listener.Accept()));
        for (int kicks = 0; kicks < 3; kicks++)
        {
            kick.Signal();
            reactor.RunOnce(TimeSpan.FromSeconds(10));
        }
        call.TryRead(out ulong calls);
        Say($"3 kicks, {calls} calls");
        peer.Dispose();
        while (relay.Subscriptions.Count > 0) reactor.RunOnce(TimeSpan.FromSeconds(10));
        Say("the peer hung up: nothing is watched");
    }

    private static void Reload()
    {
        using Reactor reactor = new();
        using Reloader reloader = new(_ => Say("loading"));
        reloader.Start(reactor);
        reloader.Request();
        reloader.Request();
        reactor.RunOnce(TimeSpan.FromSeconds(10));
        Say($"2 requests, {reloader.Loads} load");
    }

    private static void Sum()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new SumDevice("sum0"));
        Say($"1 + 2 + 3 = {Add(1, 2, 3)}");
        guest.GoOnIn(() => new SumDevice("sum0"));
        Say($"+ 10 in another device = {Add(10)}");

        long Add(params byte[] bytes)
        {
            DriverRequest request = guest.Queue(0).Add([bytes], [sizeof(long)]);
            guest.Kick(0).RunUntil(() => request.IsUsed);
            return BitConverter.ToInt64(request.Written);
        }
    }

    private static void Peek(string path)
    {
        using ReactorThread thread = new();
        thread.Start();
        string said = thread.Remote.InvokeAsync(reactor =>
            ReactorTasks.Of(reactor).Spawn(static job => Advise(job.Ring, job.Path), (Ring: IoRing.Of(reactor), Path: path)).AsTask())
            .Unwrap().GetAwaiter().GetResult();
        Say(said);
    }

    private static async ReactorTask<string> Advise(IoRing ring, string path)
    {
        using OwnedFd fd = Open(path);
        using RingFile file = ring.Register(fd);
        RingResult advice = await ring.Begin<FileAdvice, RingResult>(new FileAdvice(Advice.DontNeed, 0, DiskBytes), file);
        // Where the kernel gives no ring, threads carry its operations out, and they do not have this one.
        return $"advice on {ring.EngineName}: {(advice.Error is Errno.None or Errno.Invalid ? "answered" : advice.Error)}";
    }

    private static void Host(string image)
    {
        HostApplicationBuilder builder = Microsoft.Extensions.Hosting.Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        using CountdownEvent reports = new(3);
        builder.Services.AddMachine(image, sentence =>
        {
            Say(sentence);
            reports.Signal();
        });
        using IHost host = builder.Build();
        host.Start();
        reports.Wait();
        host.StopAsync().GetAwaiter().GetResult();
    }

    /// <summary>A simulated machine with two processors, whose guest fills the disk and checks what it wrote.</summary>
    private static void Simulate(VirtioDevice disk)
    {
        using Stream console = Console.OpenStandardOutput();
        using DeviceHost host = new(new SimulatedBoard(), disk);
        host.AddSerial("ttyS0", new SerialPortOptions
        {
            Script = System.Text.Encoding.ASCII.GetBytes(FillAndVerify),
            Output = SerialOutput.To(console),
        });
        using SimulatedMachine machine = new(host, new SimulatedMachineOptions { Vcpus = 2 });
        MachineResult result = machine.Run(CancellationToken.None);
        Say(result.Succeeded ? "the guest powered off" : "the guest failed");
    }

    private static void WithImage(Action<string> use)
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[DiskBytes]);
            use(path);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static OwnedFd Open(string path)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        OwnedFd opened = new((int)file.DangerousGetHandle());
        file.SetHandleAsInvalid();
        return opened;
    }

    private static void Say(string sentence) => Console.WriteLine(sentence);
}
