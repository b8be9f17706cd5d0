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
    /// <summary>Said at SIGHUP.</summary>
    internal const string ReloadChangesNothing =
        "SIGHUP changes nothing: the options are read at the start only, so restart to change them";

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
        SwitchOption isolate = new("--isolate",
            "Serve each device by a process of its own, which is started again if it ends by itself.");
        ConventionOptions convention = new();
        SandboxOptions sandbox = new();
        ApiOptions api = new();
        NumberOption slow = OtlpPush.SlowOption();
        ChoiceOption logFormat = LogOption.Create();

        Command command =
            new("serve", "Serve devices to guests of QEMU, cloud-hypervisor or crosvm, over vhost-user sockets, until SIGTERM.")
        {
            reactors, cpus, poll, requireSealed, allowUnsealed, map, isolate, slow, logFormat, core, printQemu, new ConfigOption(),
        };
        foreach (DeviceOption kind in kinds) command.Options.Add(kind);
        api.AddTo(command);
        sandbox.AddTo(command);
        convention.AddTo(command);
        command.SetAction(parsed =>
        {
            if (carriesOut) LogOption.Apply(logFormat.In(parsed));
            if (carriesOut && convention.AskCapabilities(parsed))
            {
                ConventionOptions.PrintCapabilities();
                return ExitCode.Success;
            }
            RequestedDevice[] devices = [.. kinds.SelectMany(kind => kind.In(parsed))];
            List<string> refusals = [];
            int disks = devices.Count(device => device.Spec is DiskSpec);
            if (convention.DiskIn(parsed, disks, refusals.Add) is { } conventional) devices = [.. devices, conventional];
            UsageException.ThrowIfAny(
            [
                .. refusals, .. refusals.Count > 0 ? [] : Contradictions(), .. sandbox.Contradictions(parsed),
                .. api.Contradictions(parsed),
            ]);
            StandardErrorLogger log = new();
            VhostUserServerOptions options = new()
            {
                Reactors = reactors.In(parsed),
                Cpus = cpus.In(parsed),
                PollMax = TimeSpan.FromMicroseconds(poll.In(parsed)),
                AllowUnsealed = allowUnsealed.In(parsed) || !requireSealed.In(parsed),
                MappedBytesMax = (ulong)map.In(parsed) << 30,
                MeasureLatency = api.In(parsed) is not null || OtlpPush.IsWanted,
                SlowAfter = OtlpPush.SlowAfter(slow, parsed),
                Logger = log.CreateLogger<VhostUserServer>(),
                Announce = Console.WriteLine,
            };
            if (!carriesOut) return ExitCode.Success;
            if (parsed.GetValue(printQemu))
            {
                Console.Write(QemuCommand.For(devices));
                return ExitCode.Success;
            }
            if (isolate.In(parsed)) return IsolatedServer.Serve(CommandsOf(parsed, kinds, isolate, devices, api));
            HostAccess[] ofApi = [.. api.HostAccesses(parsed)];
            // One that serves a device for 'serve --isolate' takes no other.
            SandboxPlan? plan = sandbox.Enter(parsed, devices, [.. ofApi, .. OtlpPush.HostAccesses()], core.In(parsed),
                needsKvm: false, opensLater: ofApi.Length > 0 && !IsolatedDevice.IsOne, api: api.In(parsed));
            CoreOption.Apply(core.In(parsed));
            return Serve(devices, options, plan, api.In(parsed), log);

            IEnumerable<string> Contradictions()
            {
                // With the API devices can come later.
                if (devices.Length == 0 && api.In(parsed) is null)
                    yield return $"nothing to serve: give at least one device, by {string.Join(", ", kinds.Select(kind => kind.Name))}";
                foreach (IGrouping<string, RequestedDevice> twice in devices.GroupBy(device => PlaceOf(device.Socket!)))
                {
                    if (twice.Count() > 1)
                        yield return $"{string.Join(" and ", twice.Select(device => device.Name))} have the same socket, "
                            + $"'{twice.First().Socket}': give each device one of its own";
                }
                if (cpus.In(parsed).Length > reactors.In(parsed))
                    yield return $"--cpus '{parsed.GetValue(cpus)}': "
                        + $"give at most one processor for each of the {reactors.In(parsed)} reactors";
                if (isolate.In(parsed) && api.In(parsed)?.Tls is not null)
                    yield return "--isolate with --api-tls: an address is one process's, and each device has its own: give --api, which "
                        + "makes a socket for each";
                if (isolate.In(parsed) && devices.Length == 0)
                    yield return "--isolate without a device: a process serves one, and takes no other later";
                if (parsed.GetResult(requireSealed) is { Implicit: false } && requireSealed.In(parsed) && allowUnsealed.In(parsed))
                    yield return "--require-sealed and --allow-unsealed are opposites: give one of them";
            }
        });
        return command;
    }

    /// <summary>The command line of each device's own process: that device, and every option that is none.</summary>
    private static IsolatedCommand[] CommandsOf(
        ParseResult parsed, DeviceOption[] kinds, SwitchOption isolate, RequestedDevice[] devices, ApiOptions api)
    {
        if (IsolatedServer.WhyNot() is { } why) throw new IOException($"--isolate: {why}");
        HashSet<string> devicesAndIsolate = [isolate.Name, ApiOptions.SocketName, .. kinds.Select(kind => kind.Name)];
        string[] words = CommandWords.Of(parsed);
        string[] common = [.. words.Where(word => !devicesAndIsolate.Contains(NameOf(word)))];
        // In the order of the devices: kind by kind.
        string[] own = [.. kinds.SelectMany(kind => words.Where(word => NameOf(word) == kind.Name))];
        string? socket = api.In(parsed)?.Socket;
        return
        [
            .. devices.Zip(own, (device, word) => new IsolatedCommand(device.Name,
                [.. common, .. socket is null ? [] : (string[])[$"{ApiOptions.SocketName}={ApiOfDevice(socket, device.Name)}"], word],
                device.Socket is { Descriptor: null } listens ? listens.Path : null)),
        ];

        // Beside the one that was named, so that 'vmm ctl list' finds all of them.
        static string ApiOfDevice(string socket, string device) =>
            Path.Combine(Path.GetDirectoryName(socket) ?? "", $"{device}.{Path.GetFileName(socket)}");

        static string NameOf(string word) => word.IndexOf('=', StringComparison.Ordinal) is > 0 and var end ? word[..end] : word;
    }

    private static int Serve(
        RequestedDevice[] devices, VhostUserServerOptions options, SandboxPlan? sandbox, ApiPlaces? api, StandardErrorLogger log)
    {
        TaskCompletionSource stop = new();
        using ExitDeadline deadline = new();
        using Signals signals = new();

        using PassedSockets passed = PassedSockets.Take();
        // An image and a listening socket each, beside what the runtime and the reactors have.
        ProcessDescriptors.MakeRoom((2 * devices.Length) + DescriptorsOfOthers);
        using VhostUserServer server = new(options);
        VhostUserBackend[] backends = [.. devices.Select(device => Add(server, device, device.Socket!.Descriptor is { } number
            ? PassedSockets.TakeNumber(number) : passed.TakeAt(device.Socket.Path)))];
        passed.CheckAllTaken();
        // From here on: what opens devices may wait half a minute for a lock or a server, and until then a signal ends the process.
        signals.On(_ => Stop(), PosixSignal.SIGTERM, PosixSignal.SIGINT).On(_ => Reload(), PosixSignal.SIGHUP).On(_ => { }, Signals.User2)
            .On(_ => PrintStatistics(server.Backends), Signals.User1);
        IsolatedDevice.ObeyIfIsolated(() => PrintStatistics(server.Backends), Stop);
        using ApiServer? listening = ApiServer.TryStart(api,
            () => new ServedDevices(server, log.CreateLogger<ServedDevices>(), Stop, sandbox), log);
        using IDisposable? pushed = OtlpPush.TryStart(() => server.Backends.Select(backend => backend.Device));
        SandboxOptions.Close(sandbox, server.CloseSandbox);
        server.Start();
        // One call for thousands of lines.
        Console.Write(string.Concat(devices.Select(device => $"listening {device.Kind.ServedName ?? device.Kind.Name} {device.Socket}\n")));
        foreach (string place in listening?.Places ?? []) Console.WriteLine($"listening api {place}");
        ServiceNotification.Ready();
        // Devices that came with their connections are done when the last of these ends. With the API others can come.
        Task done = api is null && devices.Length > 0 ? Task.WhenAll(backends.Select(backend => backend.Completion)) : stop.Task;
        Task[] ends = [stop.Task, server.Failed, done];
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

    /// <summary>What no two devices share.</summary>
    private static string PlaceOf(ServedSocket socket) => socket.Descriptor is null ? Path.GetFullPath(socket.Path) : socket.ToString();

    private static VhostUserBackend Add(VhostUserServer server, RequestedDevice served, OwnedFd? listener)
    {
        (string name, DeviceSpec spec) = (served.Name, served.Spec);
        try
        {
            return listener is null ? server.Add(name, spec, served.Socket!.Path, served.Socket.Access) : server.Add(name, spec, listener);
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
        StandardError.Say(LogLevel.Warning, ReloadChangesNothing);
        ServiceNotification.Ready();
    }
}
