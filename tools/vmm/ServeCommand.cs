using System.CommandLine;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Sandbox;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary><c>vmm serve</c>: devices for guests that run elsewhere, over vhost-user.</summary>
internal static class ServeCommand
{
    private const int DescriptorsOfOthers = 32;

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        DeviceOption[] kinds = [.. DeviceKinds.All.Select(kind => new DeviceOption(kind, isServed: true))];
        NumberOption reactors = new("--reactors", "N", "Threads that serve devices and queues, dealt out in turn",
            1, VhostUserServerOptions.ReactorsMax, standard: 1);
        CpusOption cpus = new("Processors the reactors are kept on, one for each.");
        NumberOption poll = new("--poll-max-us", "N",
            "Microseconds a reactor looks for work before it sleeps; shortens each wake-up, "
            + "costs processor time", 0, 1_000_000, standard: 0);
        SwitchOption requireSealed =
            new("--require-sealed", "Refuse guest memory that its owner could cut short: the default.", standard: true);
        SwitchOption allowUnsealed = new("--allow-unsealed",
            "Take such memory from front-ends that cannot seal theirs: cloud-hypervisor, User Mode Linux, DPDK without huge pages.");
        NumberOption map = new("--map-max", "GIB",
            "GiB of guest memory all front-ends may have mapped together, each at most half of what the others leave",
            1, (int)(VhostUserServerOptions.MappedBytesLimit >> 30), standard: 4096);
        SwitchOption core = CoreOption.Create();
        // No setting of a configuration file.
        Option<bool> printQemu = new("--print-qemu")
        {
            Description = "Print a command of QEMU with these devices, to paste into a shell, and end.",
        };
        SandboxOptions sandbox = new();
        ApiOption api = new();
        ChoiceOption logFormat = LogOption.Create();

        Command command =
            new("serve", "Serve devices to guests of QEMU, cloud-hypervisor or crosvm, over vhost-user sockets, until SIGTERM.")
        {
            reactors, cpus, poll, requireSealed, allowUnsealed, map, api, logFormat, core, printQemu, new ConfigOption(),
        };
        foreach (DeviceOption kind in kinds) command.Options.Add(kind);
        sandbox.AddTo(command);
        command.SetAction(parsed =>
        {
            if (carriesOut) LogOption.Apply(logFormat.In(parsed));
            RequestedDevice[] devices = [.. kinds.SelectMany(kind => kind.In(parsed))];
            UsageException.ThrowIfAny([.. Contradictions(), .. sandbox.Contradictions(parsed)]);
            StandardErrorLogger log = new();
            VhostUserServerOptions options = new()
            {
                Reactors = reactors.In(parsed),
                Cpus = cpus.In(parsed),
                PollMax = TimeSpan.FromMicroseconds(poll.In(parsed)),
                AllowUnsealed = allowUnsealed.In(parsed) || !requireSealed.In(parsed),
                MappedBytesMax = (ulong)map.In(parsed) << 30,
                MeasureLatency = parsed.GetValue(api) is not null,
                Logger = log.CreateLogger<VhostUserServer>(),
                Announce = Console.WriteLine,
            };
            if (!carriesOut) return ExitCode.Success;
            if (parsed.GetValue(printQemu))
            {
                Console.Write(QemuCommand.For(devices));
                return ExitCode.Success;
            }
            HostAccess[] ofApi = [.. api.HostAccesses(parsed)];
            SandboxPlan? plan = sandbox.Enter(parsed, devices, ofApi, core.In(parsed), needsKvm: false, opensLater: ofApi.Length > 0);
            CoreOption.Apply(core.In(parsed));
            return Serve(devices, options, plan, parsed.GetValue(api), log);

            IEnumerable<string> Contradictions()
            {
                // With the API devices can come later.
                if (devices.Length == 0 && parsed.GetValue(api) is null)
                    yield return $"nothing to serve: give at least one device, by {string.Join(", ", kinds.Select(kind => kind.Name))}";
                foreach (IGrouping<string, RequestedDevice> twice in devices.GroupBy(device => Path.GetFullPath(device.Socket)))
                {
                    if (twice.Count() > 1)
                        yield return $"{string.Join(" and ", twice.Select(device => device.Name))} have the same socket, "
                            + $"'{twice.First().Socket}': give each device one of its own";
                }
                if (cpus.In(parsed).Length > reactors.In(parsed))
                    yield return $"--cpus '{parsed.GetValue(cpus)}': "
                        + $"give at most one processor for each of the {reactors.In(parsed)} reactors";
                if (parsed.GetResult(requireSealed) is { Implicit: false } && requireSealed.In(parsed) && allowUnsealed.In(parsed))
                    yield return "--require-sealed and --allow-unsealed are opposites: give one of them";
            }
        });
        return command;
    }

    private static int Serve(
        RequestedDevice[] devices, VhostUserServerOptions options, SandboxPlan? sandbox, string? api, StandardErrorLogger log)
    {
        // SIGUSR1 and SIGUSR2 of x86-64: the runtime has no names for them.
        const PosixSignal User1 = (PosixSignal)10, User2 = (PosixSignal)12;
        TaskCompletionSource stop = new();
        using ExitDeadline deadline = new();
        using Signals signals = new Signals().On(_ => Stop(), PosixSignal.SIGTERM, PosixSignal.SIGINT);

        using PassedSockets passed = PassedSockets.Take();
        // An image and a listening socket each, beside what the runtime and the reactors have.
        ProcessDescriptors.MakeRoom((2 * devices.Length) + DescriptorsOfOthers);
        using VhostUserServer server = new(options);
        foreach (RequestedDevice device in devices) Add(server, device, passed.TakeAt(device.Socket));
        passed.CheckAllTaken();
        signals.On(_ => Reload(), PosixSignal.SIGHUP).On(_ => { }, User2).On(_ => PrintStatistics(server.Backends), User1);
        using IDisposable? listening = ApiServer.TryStart(api,
            () => new ServedDevices(server, log.CreateLogger<ServedDevices>(), Stop, sandbox is not null), log);
        SandboxOptions.Close(sandbox);
        server.Start();
        // One call for thousands of lines.
        Console.Write(string.Concat(devices.Select(device => $"listening {device.Kind.ServedName ?? device.Kind.Name} {device.Socket}\n")));
        if (api is not null) Console.WriteLine($"listening api {api}");
        ServiceNotification.Ready();
        Task[] ends = [stop.Task, server.Failed];
        int ended;
        using (new ServiceWatchdog(server.IsAlive)) ended = Task.WaitAny(ends);
        ServiceNotification.Stopping();
        ends[ended].GetAwaiter().GetResult();
        return ExitCode.Success;

        void Stop()
        {
            deadline.Start();
            stop.TrySetResult();
        }
    }

    private static VhostUserBackend Add(VhostUserServer server, RequestedDevice served, OwnedFd? listener)
    {
        (string name, DeviceSpec spec) = (served.Name, served.Spec);
        try
        {
            return listener is null ? server.Add(name, spec, served.Socket) : server.Add(name, spec, listener);
        }
        catch (ArgumentException refused)
        {
            throw new UsageException($"{served.Option}: {refused.Message}");
        }
    }

    /// <summary>What each device did so far, a line each, on standard error.</summary>
    private static void PrintStatistics(IReadOnlyList<VhostUserBackend> backends)
    {
        foreach (VhostUserBackend backend in backends)
        {
            IReadOnlyList<QueueStatistics> queues = backend.Statistics;
            StandardError.Say(LogLevel.Information,
                $"{backend.Device.Name}: front-ends {backend.Connections}, kicks {queues.Sum(queue => queue.Kicks)}, "
                + $"requests {queues.Sum(queue => queue.Requests)}, bytes {queues.Sum(queue => queue.Bytes)}, "
                    + $"interrupts {queues.Sum(queue => queue.Interrupts)}, "
                + $"guest faults {backend.Device.GuestFaults}, host faults {backend.Device.HostFaults}", backend.Device.Name);
        }
    }

    /// <summary>Nothing is read again yet: the signal must not end the devices, and the service manager waits for an answer.</summary>
    private static void Reload()
    {
        ServiceNotification.Reloading();
        StandardError.Say(LogLevel.Warning,
            "SIGHUP changes nothing: the options are read at the start only, so restart to change them");
        ServiceNotification.Ready();
    }
}
