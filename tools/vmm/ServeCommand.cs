using System.CommandLine;
using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.VhostUser;

namespace Vmm.Tool;

/// <summary><c>vmm serve</c>: devices for guests that run elsewhere, over vhost-user.</summary>
internal static class ServeCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Option<string[]> disks = new("--blk")
        {
            HelpName = "path=F,socket=S[,queues=N][,engine=ring|threads|synchronous][,ro][,direct]",
            Description = "A disk: a raw image, served at a socket. May be given several times.",
        };
        Option<string[]> entropies = new("--rng") { HelpName = "socket=S", Description = "An entropy device. May be given several times." };
        Option<string[]> consoles = new("--console") { HelpName = "socket=S,pty|uds=PATH|file=PATH", Description = "A console, and where it leads on this host: a terminal, a Unix socket or a file." };
        Option<string[]> networks = new("--net")
        {
            HelpName = "socket=S,tap=T[,queues=N]",
            Description = "A network card on a TAP interface of this host. May be given several times.",
        };
        Option<string[]> vsocks = new("--vsock")
        {
            HelpName = "socket=S,cid=N,uds=BASE",
            Description = "Sockets of the guest, led to Unix sockets of this host: host port P to BASE_P, and BASE to the guest. May be given several times.",
        };
        NumberOption reactors = new("--reactors", "N", "Threads that serve devices and queues, dealt out in turn", 1, VhostUserServerOptions.ReactorsMax, standard: 1);
        TextOption cpus = new("--cpus", "A[,B…]", "Processors the reactors are kept on, one for each.");
        NumberOption poll = new("--poll-max-us", "N", "Microseconds a reactor looks for work before it sleeps; shortens each wake-up, costs processor time", 0, 1_000_000, standard: 0);
        SwitchOption requireSealed = new("--require-sealed", "Refuse guest memory that its owner could cut short, which would end this process.");

        Command command = new("serve", "Serve devices to guests of QEMU, cloud-hypervisor or crosvm, over vhost-user sockets, until SIGTERM.")
        {
            disks, entropies, consoles, networks, vsocks, reactors, cpus, poll, requireSealed,
        };
        command.SetAction((parsed, stop) =>
        {
            List<ServedDevice> devices =
            [
                .. (parsed.GetValue(disks) ?? []).Select(ServedDevice.Disk),
                .. (parsed.GetValue(entropies) ?? []).Select(ServedDevice.Entropy),
                .. (parsed.GetValue(consoles) ?? []).Select(ServedDevice.Console),
                .. (parsed.GetValue(networks) ?? []).Select(ServedDevice.Net),
                .. (parsed.GetValue(vsocks) ?? []).Select(ServedDevice.Vsock),
            ];
            if (devices.Count == 0) throw new UsageException("nothing to serve: give at least one device (see 'vmm serve --help')");
            if (Parsing.Cpus("--cpus", parsed.GetValue(cpus)).Length > reactors.In(parsed))
                throw new UsageException($"--cpus '{parsed.GetValue(cpus)}': give at most one processor for each of the {reactors.In(parsed)} reactors");
            VhostUserServerOptions options = new()
            {
                Reactors = reactors.In(parsed),
                Cpus = Parsing.Cpus("--cpus", parsed.GetValue(cpus)),
                PollMax = TimeSpan.FromMicroseconds(poll.In(parsed)),
                RequireSealed = requireSealed.In(parsed),
                Logger = new StandardErrorLogger("vmm"),
            };
            return carriesOut ? ServeAsync(devices, options) : Task.FromResult(ExitCode.Success);
        });
        return command;
    }

    private static async Task<int> ServeAsync(List<ServedDevice> devices, VhostUserServerOptions options)
    {
        TaskCompletionSource stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            stop.TrySetResult();
        }
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);

        using VhostUserServer server = new(options);
        VhostUserBackend[] backends = [.. devices.Select(device => server.Add(device.Request.Open(), device.Socket))];
        server.Start();
        List<IDisposable> ways = [];
        try
        {
            foreach ((ServedDevice device, VhostUserBackend backend) in devices.Zip(backends))
            {
                if (device.Request.Lead is { } lead) ways.Add(lead(backend.Remote));
                Console.WriteLine($"listening {device.Kind} {device.Socket}");
            }
            ServiceNotification.Ready();
            Task ended = await Task.WhenAny(stop.Task, server.Failed);
            ServiceNotification.Stopping();
            await ended;
            return ExitCode.Success;
        }
        finally
        {
            ways.ForEach(way => way.Dispose());
        }
    }
}
