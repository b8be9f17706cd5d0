using System.Globalization;
using System.Net.Sockets;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Benchmarks;

/// <summary>A machine with a device of every kind whose guest waits at its console, and how often its threads wake up meanwhile.</summary>
internal sealed class IdleMachine : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-idle-").FullName;
    private readonly CancellationTokenSource _stop = new();
    private readonly DeviceHost _host;
    private readonly SimulatedMachine _machine;
    private readonly Thread _run;
    private readonly Socket _typist;
    private readonly PseudoTerminal _terminal = new();

    internal IdleMachine()
    {
        string disk = Path.Combine(_directory, "disk");
        using (FileStream file = File.Create(disk)) file.SetLength(1 << 20);
        ConsolePort port = new("console", isConsole: true);
        _terminal.Connect(port);
        _host = new DeviceHost(
            new SimulatedBoard(),
            new BlockDevice("vda", RawImage.Open(disk)),
            new EntropyDevice("rng0"),
            new BalloonDevice("balloon0"),
            new ConsoleDevice("console0", port),
            new NetDevice("net0", NetSocket.Open(Path.Combine(_directory, "net"))),
            new VsockDevice("vsock0", 3, Path.Combine(_directory, "vsock")));
        string console = Path.Combine(_directory, "console");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(console));
        listener.Listen();
        _typist = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _typist.Connect(new UnixDomainSocketEndPoint(console));
        using Socket guest = listener.Accept();
        OwnedFd line = new((int)guest.Handle);
        _host.AddSerial("ttyS0", new SerialPortOptions { Input = line.Duplicate(), Output = SerialOutput.To(line.Duplicate()) });
        line.SetHandleAsInvalid();
        _machine = new SimulatedMachine(_host, new SimulatedMachineOptions { Interactive = true });
        _run = new Thread(() => _machine.Run(_stop.Token)) { Name = "machine" };
        _run.Start();
        ReadPrompt();
    }

    internal IEnumerable<string> Devices => _host.Devices.Select(hosted => hosted.Device.Name).Append(_host.Serials[0].Port.Name);

    /// <summary>What the machine's threads did while there was no work.</summary>
    internal IdleFigures Watch(TimeSpan time)
    {
        long reactor = Sleeps("devices0"), vcpu = Sleeps("vcpu0"), exits = Exits();
        Thread.Sleep(time);
        return new IdleFigures(Sleeps("devices0") - reactor, Sleeps("vcpu0") - vcpu, Exits() - exits);
    }

    public void Dispose()
    {
        _stop.Cancel();
        _run.Join();
        _machine.Dispose();
        _host.Dispose();
        _typist.Dispose();
        _terminal.Dispose();
        _stop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private long Exits() => Enum.GetValues<VcpuExitKind>().Sum(_machine.Vcpus[0].ExitCount);

    private void ReadPrompt()
    {
        string text = "";
        byte[] bytes = new byte[256];
        while (!text.EndsWith("> ", StringComparison.Ordinal))
            text += System.Text.Encoding.UTF8.GetString(bytes, 0, _typist.Receive(bytes));
        // What the devices still have to say to the driver after that.
        Thread.Sleep(TimeSpan.FromMilliseconds(500));
    }

    /// <summary>How often the threads of a name went to sleep so far (proc_pid_status(5)): each wake-up ends with one.</summary>
    private static long Sleeps(string thread)
    {
        long sleeps = 0;
        foreach (string task in Directory.GetDirectories("/proc/self/task"))
        {
            if (File.ReadAllText(Path.Combine(task, "comm")).Trim() != thread) continue;
            string line = File.ReadLines(Path.Combine(task, "status"))
                .First(line => line.StartsWith("voluntary_ctxt_switches:", StringComparison.Ordinal));
            sleeps += long.Parse(line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..], CultureInfo.InvariantCulture);
        }
        return sleeps;
    }
}

/// <summary>Wake-ups of an idle machine.</summary>
/// <param name="Reactor">Of the thread that serves the devices.</param>
/// <param name="Vcpu">Of the vCPU's thread.</param>
/// <param name="Exits">Exits of the vCPU.</param>
internal readonly record struct IdleFigures(long Reactor, long Vcpu, long Exits);
