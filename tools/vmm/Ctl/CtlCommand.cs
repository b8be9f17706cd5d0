using System.Buffers;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace Vmm.Tool;

/// <summary><c>vmm ctl</c>: looks at a <c>vmm</c> that runs with <c>--api</c>, and changes it.</summary>
internal static class CtlCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string> socket = new("SOCKET")
        {
            Description = $"{CtlOptions.Place}; for 'ls' a directory of such sockets.",
        };
        CtlOptions reach = new();
        Argument<string> name = new("NAME") { Description = "A device, as 'ls' lists it." };
        Argument<string?> perhaps =
            new("NAME") { Description = "A device, as 'ls' lists it; none for the machine.", Arity = ArgumentArity.ZeroOrOne };
        Argument<string?> which =
            new("NAME") { Description = "A console, as 'consoles' lists it; none for the first.", Arity = ArgumentArity.ZeroOrOne };
        Argument<string[]> fields = new("FIELD=VALUE")
        {
            Description = $"What to change: {FieldText.Names}. Bytes may be 8G.",
            Arity = ArgumentArity.OneOrMore,
        };
        Argument<uint> guestPort = new("GUEST-PORT") { Description = "The guest's port, as 'connections' lists it." };
        Argument<uint> hostPort = new("HOST-PORT") { Description = "The host's port." };
        Argument<double?> seconds = new("SECONDS")
        {
            Description = "End after this time although front-ends are left; without it, wait for them.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Argument<string> kind = new("KIND") { Description = "An option of 'vmm serve' without its dashes: blk, net and so on." };
        Argument<string> options = new("KEYS") { Description = "What that option is given: path=disk.img,socket=S." };
        string levels = string.Join(", ", LogFormat.Levels);
        Argument<string?> level =
            new("LEVEL") { Description = $"What to log at the least: {levels}.", Arity = ArgumentArity.ZeroOrOne };
        level.CompletionSources.Add(LogFormat.Levels);

        Command all = new("ctl", "Look at a vmm that runs with --api, and change it.")
        {
            socket,
            Make("ls", "List the devices.", [], (client, _) => List(client)),
            Make("get", "Print what a device, or the machine, is and did.", [perhaps], (client, parsed) =>
                Print(client.Text(parsed.GetValue(perhaps) is { } one ? CtlClient.PathOf(one) : "/v1/machine"))),
            Make("set", "Change a device while it runs.", [name, fields], (client, parsed) =>
            {
                ReadOnlyMemory<byte> change = FieldText.Read(parsed.GetValue(fields)!);
                client.Work(HttpMethod.Patch, CtlClient.PathOf(parsed.GetValue(name)!), change);
            }),
            Make("inspect", "Print the live tree of everything, in JSON.", [], (client, _) => PrintTree(client.Text("/v1/inspect"))),
            Make("watch", "Print what happens, until the other vmm ends.", [], (client, _) => Watch(client)),
            Make("consoles", "List the consoles of the guest.", [], (client, _) =>
            {
                foreach (GuestConsoleView console in client.Get("/v1/consoles", ApiJson.Readable.GuestConsoleList).Consoles)
                    Say($"{console.Name}  {console.Kind}{(console.TakesInput ? "" : "  takes no input")}");
            }),
            Make("console", "Attach this terminal to a console of the guest; Ctrl-A x leaves.", [which], (client, parsed) =>
                ConsoleAttachment.Run(client, parsed.GetValue(which))),
            Make("add", "Serve one more device.", [kind, options], (client, parsed) =>
            {
                NewDevice asked = new() { Kind = parsed.GetValue(kind)!, Options = parsed.GetValue(options)! };
                byte[] body = JsonSerializer.SerializeToUtf8Bytes(asked, ApiJson.Readable.NewDevice);
                Say(client.Do(HttpMethod.Post, "/v1/devices", ApiJson.Readable.DeviceView, body).Name);
            }),
            Make("remove", "Take a device out, once nothing of it is in flight.", [name], (client, parsed) =>
            {
                if (!client.Remove(parsed.GetValue(name)!))
                    Console.Error.WriteLine(
                        "vmm: it goes when its requests in flight are done, and its guest has let go of it: 'operations' says so");
            }),
            Make("flush", "Make durable what was written to a disk.", [name], (client, parsed) =>
                client.Work(HttpMethod.Post, CtlClient.PathOf(parsed.GetValue(name)!) + "/flush")),
            Make("connections", "List the connections of a device for sockets between guest and host.", [name], (client, parsed) =>
                ListSockets(client.Get(CtlClient.PathOf(parsed.GetValue(name)!) + "/connections", ApiJson.Readable.SocketList))),
            Make("disconnect", "End one of these connections, for both of its ends.", [name, guestPort, hostPort], (client, parsed) =>
            {
                SocketPorts ports = new() { GuestPort = parsed.GetValue(guestPort), HostPort = parsed.GetValue(hostPort) };
                client.Work(HttpMethod.Post, CtlClient.PathOf(parsed.GetValue(name)!) + "/disconnect",
                    JsonSerializer.SerializeToUtf8Bytes(ports, ApiJson.Readable.SocketPorts));
            }),
            Make("operations", "List what takes long: what is running, and what ended last.", [], (client, _) => ListOperations(client)),
            Make("drain", "Take no more front-ends, and end when those that are connected have left.", [seconds], (client, parsed) =>
            {
                byte[] body = JsonSerializer.SerializeToUtf8Bytes(
                    new DrainWish { Seconds = parsed.GetValue(seconds) }, ApiJson.Readable.DrainWish);
                client.Do(HttpMethod.Post, "/v1/machine/drain", ApiJson.Readable.OperationView, body);
            }),
            Make("pause", "Have vCPUs and devices stand still.", [], Machine("pause")),
            Make("resume", "Let them go on.", [], Machine("resume")),
            SnapshotCommand(),
            Make("power-off", "Press the power button: a guest that heeds it shuts itself down.", [], Machine("power-off")),
            Make("reset", "Start the machine again from its kernel, without a word to the guest.", [], Machine("reset")),
            WebPageCommand(),
            ForkCommand(),
            Make("stop", "Ask the process to end, as SIGTERM does.", [], Machine("stop")),
            Make("log", "Print how much is logged, or change it.", [level], (client, parsed) =>
            {
                if (parsed.GetValue(level) is not { } wanted)
                {
                    Say(client.Get("/v1/log", ApiJson.Readable.LogView).Level);
                    return;
                }
                if (!LogFormat.Levels.Contains(wanted)) throw new UsageException($"'{wanted}' is no level: give one of {levels}");
                byte[] body = JsonSerializer.SerializeToUtf8Bytes(new LogView { Level = wanted }, ApiJson.Readable.LogView);
                client.Do(HttpMethod.Put, "/v1/log", ApiJson.Readable.LogView, body);
            }),
        };
        reach.AddTo(all);
        return all;

        Command SnapshotCommand()
        {
            Argument<string> directory = new("DIR") { Description = "Where the snapshot goes: a name that is not there yet." };
            SwitchOption stop = new("--stop", "End the machine when it is saved, without having run on.");
            TextOption difference = new("--diff", "BASE",
                "Save only what changed since that snapshot: the last one of this machine, beside DIR, which needs it from then on.");
            SwitchOption disks = new("--disks", "Save its disks too, as they are at that moment: files 'disk-NAME' in DIR.");
            Command command = Make("snapshot", "Save the machine, which goes on; 'vmm boot --restore' brings it back.", [directory],
                (client, parsed) => Saving.Print(Saving.Run(client, new NewSnapshot
                {
                    Directory = FullPath(client, parsed.GetValue(directory)!),
                    Stop = stop.In(parsed) ? true : null,
                    Base = parsed.GetValue(difference) is { } to ? FullPath(client, to) : null,
                    Disks = disks.In(parsed) ? true : null,
                })));
            command.Options.Add(stop);
            command.Options.Add(difference);
            command.Options.Add(disks);
            return command;
        }

        Command ForkCommand()
        {
            NumberOption count = new("--count", "N", "How many", 1, Forking.CountMax, standard: 1);
            TextOption directory = new("--dir", "DIR",
                "Where the snapshot that they go on from, and each one's disks, sockets and output go: a name that is not there yet.")
            { Required = true };
            Command command = Make("fork", "Start clones of the machine beside it, which goes on.", [],
                (client, parsed) => Forking.Run(client, parsed.GetValue(directory)!, count.In(parsed)));
            command.Options.Add(count);
            command.Options.Add(directory);
            return command;
        }

        Command WebPageCommand()
        {
            NumberOption port = new("--port", "N", "Port of 127.0.0.1; 0 for one that is free", 0, ushort.MaxValue, standard: 0);
            Command command = Make("web", "Let a browser of this host in, by an address that opens once; until a signal ends it.", [],
                (client, parsed) => WebCommand.Run(client, port.In(parsed)));
            command.Options.Add(port);
            return command;
        }

        Command Make(string word, string description, Argument[] arguments, Action<CtlClient, ParseResult> carryOut)
        {
            Command command = new(word, description);
            foreach (Argument argument in arguments) command.Arguments.Add(argument);
            command.SetAction(parsed =>
            {
                if (!carriesOut) return ExitCode.Success;
                string place = parsed.GetValue(socket)
                    ?? throw new UsageException($"the API's socket is missing: give 'vmm ctl SOCKET {word}'");
                if (!reach.IsElsewhere(parsed) && Directory.Exists(place))
                {
                    if (word == "ls") return Fleet.List(place, reach.Keys(parsed), Table);
                    throw new UsageException($"'{place}' is a directory: 'ls' lists what is in it, and '{word}' is for one of those");
                }
                using CtlClient client = reach.Open(parsed, place);
                carryOut(client, parsed);
                return ExitCode.Success;
            });
            return command;
        }
    }

    private static Action<CtlClient, ParseResult> Machine(string what) =>
        (client, _) => client.Do(HttpMethod.Post, $"/v1/machine/{what}", ApiJson.Readable.MachineView);

    /// <summary>A path of the host where the machine is: a relative one begins here only if that is this host.</summary>
    private static string FullPath(CtlClient client, string path) => !client.MayBeElsewhere ? Path.GetFullPath(path)
        : Path.IsPathFullyQualified(path) ? path
        : throw new UsageException($"'{path}' is a path of the host where the machine is: give one that begins with '/'");

    private static void List(CtlClient client)
    {
        Table(
        [
            DeviceColumns,
            .. client.Get("/v1/devices", ApiJson.Readable.DeviceList).Devices.Select(Row),
        ]);
    }

    private static void ListSockets(SocketList sockets) => Table(
    [
        ["GUEST", "HOST", "TYPE", "STATE", "CREDIT"],
        .. sockets.Connections.Select(socket => (string[])
            [Number(socket.GuestPort), Number(socket.HostPort), socket.Type, socket.State, Number(socket.CreditBytes)]),
    ]);

    private static void ListOperations(CtlClient client) => Table(
    [
        ["ID", "KIND", "DEVICE", "STATE", "SECONDS", "PROBLEM"],
        .. client.Get("/v1/operations", ApiJson.Readable.OperationList).Operations.Select(each => (string[])
        [
            each.Id, each.Kind, each.Device ?? "-", each.State, each.Seconds.ToString("0.0", CultureInfo.InvariantCulture),
            each.Problem?.Detail ?? "-",
        ]),
    ]);

    private static void Table(string[][] rows)
    {
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows) Say(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
    }

    /// <summary>What is listed of a device: see <see cref="Row"/>.</summary>
    internal static string[] DeviceColumns => ["NAME", "TYPE", "REQUESTS", "BYTES", "P99 µs", "LIMIT", "SOCKET"];

    internal static string[] Row(DeviceView device)
    {
        string operations = device.OperationsPerSecond > 0 ? $"{device.OperationsPerSecond}/s" : "";
        string bytes = device.BytesPerSecond > 0 ? $"{device.BytesPerSecond} B/s" : "";
        string used = device.Connected == true ? "*" : "";
        return
        [
            device.Name, device.Type, Number(device.Requests), Number(device.Bytes),
            device.LatencyP99Us?.ToString("0.#", CultureInfo.InvariantCulture) ?? "-",
            (operations + (operations.Length > 0 && bytes.Length > 0 ? "," : "") + bytes) is { Length: > 0 } limit ? limit : "-",
            device.Socket is null ? "-" : device.Socket + used,
        ];
    }

    /// <summary>Each field on a line of its own.</summary>
    private static void Print(string json)
    {
        using JsonDocument view = JsonDocument.Parse(json);
        foreach (JsonProperty field in view.RootElement.EnumerateObject())
            Say($"{field.Name} {(field.Value.ValueKind == JsonValueKind.String ? field.Value.GetString() : field.Value.GetRawText())}");
    }

    private static void PrintTree(string json)
    {
        using JsonDocument tree = JsonDocument.Parse(json);
        ArrayBufferWriter<byte> text = new();
        using (Utf8JsonWriter writer = new(text, new JsonWriterOptions { Indented = true })) tree.WriteTo(writer);
        Console.Out.WriteLine(System.Text.Encoding.UTF8.GetString(text.WrittenSpan));
    }

    private static void Watch(CtlClient client)
    {
        foreach (ApiEvent happened in client.Events())
            Say($"{happened.Time.ToLocalTime().ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture)} {happened.Kind} {happened.Message}");
    }

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static void Say(string line) => Console.Out.WriteLine(Printable.Of(line));
}
