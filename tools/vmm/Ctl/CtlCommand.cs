using System.Buffers;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace Vmm.Tool;

/// <summary><c>vmm ctl</c>: looks at a <c>vmm</c> that runs with <c>--api</c>, and changes it.</summary>
internal static class CtlCommand
{
    private static readonly string[] Levels = ["trace", "debug", "information", "warning", "error", "critical", "none"];

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string> socket = new("SOCKET") { Description = "Where the other vmm listens: what its --api names." };
        Argument<string> name = new("NAME") { Description = "A device, as 'ls' lists it." };
        Argument<string?> perhaps =
            new("NAME") { Description = "A device, as 'ls' lists it; none for the machine.", Arity = ArgumentArity.ZeroOrOne };
        Argument<string[]> fields = new("FIELD=VALUE")
        {
            Description = $"What to change: {FieldText.Names}. Bytes may be 8G.",
            Arity = ArgumentArity.OneOrMore,
        };
        Argument<string> kind = new("KIND") { Description = "An option of 'vmm serve' without its dashes: blk, net and so on." };
        Argument<string> options = new("KEYS") { Description = "What that option is given: path=disk.img,socket=S." };
        Argument<string?> level =
            new("LEVEL") { Description = $"What to log at the least: {string.Join(", ", Levels)}.", Arity = ArgumentArity.ZeroOrOne };
        level.CompletionSources.Add(Levels);

        return new Command("ctl", "Look at a vmm that runs with --api, and change it.")
        {
            socket,
            Make("ls", "List the devices.", [], (client, _) => List(client)),
            Make("get", "Print what a device, or the machine, is and did.", [perhaps], (client, parsed) =>
                Print(client.Text(parsed.GetValue(perhaps) is { } one ? CtlClient.PathOf(one) : "/v1/machine"))),
            Make("set", "Change a device while it runs.", [name, fields], (client, parsed) =>
            {
                ReadOnlyMemory<byte> change = FieldText.Read(parsed.GetValue(fields)!);
                client.Do(HttpMethod.Patch, CtlClient.PathOf(parsed.GetValue(name)!), ApiJson.Readable.DeviceView, change);
            }),
            Make("inspect", "Print the live tree of everything, in JSON.", [], (client, _) => PrintTree(client.Text("/v1/inspect"))),
            Make("watch", "Print what happens, until the other vmm ends.", [], (client, _) => Watch(client)),
            Make("add", "Serve one more device.", [kind, options], (client, parsed) =>
            {
                NewDevice asked = new() { Kind = parsed.GetValue(kind)!, Options = parsed.GetValue(options)! };
                byte[] body = JsonSerializer.SerializeToUtf8Bytes(asked, ApiJson.Readable.NewDevice);
                Say(client.Do(HttpMethod.Post, "/v1/devices", ApiJson.Readable.DeviceView, body).Name);
            }),
            Make("remove", "Take a device out, once nothing of it is in flight.", [name], (client, parsed) =>
            {
                if (!client.Remove(parsed.GetValue(name)!))
                    Console.Error.WriteLine("vmm: it still has requests in flight, and goes when they are done: 'watch' says when");
            }),
            Make("pause", "Have vCPUs and devices stand still.", [], Machine("pause")),
            Make("resume", "Let them go on.", [], Machine("resume")),
            SnapshotCommand(),
            ForkCommand(),
            Make("stop", "Ask the process to end, as SIGTERM does.", [], Machine("stop")),
            Make("log", "Print how much is logged, or change it.", [level], (client, parsed) =>
            {
                if (parsed.GetValue(level) is not { } wanted)
                {
                    Say(client.Get("/v1/log", ApiJson.Readable.LogView).Level);
                    return;
                }
                if (!Levels.Contains(wanted)) throw new UsageException($"'{wanted}' is no level: give one of {string.Join(", ", Levels)}");
                byte[] body = JsonSerializer.SerializeToUtf8Bytes(new LogView { Level = wanted }, ApiJson.Readable.LogView);
                client.Do(HttpMethod.Put, "/v1/log", ApiJson.Readable.LogView, body);
            }),
        };

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
                    Directory = Path.GetFullPath(parsed.GetValue(directory)!),
                    Stop = stop.In(parsed) ? true : null,
                    Base = parsed.GetValue(difference) is { } to ? Path.GetFullPath(to) : null,
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

        Command Make(string word, string description, Argument[] arguments, Action<CtlClient, ParseResult> carryOut)
        {
            Command command = new(word, description);
            foreach (Argument argument in arguments) command.Arguments.Add(argument);
            command.SetAction(parsed =>
            {
                if (!carriesOut) return ExitCode.Success;
                using CtlClient client = new(parsed.GetValue(socket)!);
                carryOut(client, parsed);
                return ExitCode.Success;
            });
            return command;
        }
    }

    private static Action<CtlClient, ParseResult> Machine(string what) =>
        (client, _) => client.Do(HttpMethod.Post, $"/v1/machine/{what}", ApiJson.Readable.MachineView);

    private static void List(CtlClient client)
    {
        string[][] rows =
        [
            ["NAME", "TYPE", "REQUESTS", "BYTES", "P99 µs", "LIMIT", "SOCKET"],
            .. client.Get("/v1/devices", ApiJson.Readable.DeviceList).Devices.Select(Row),
        ];
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows) Say(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
    }

    private static string[] Row(DeviceView device)
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
