namespace Vmm.Tool;

/// <summary>All that run on this host: the APIs whose sockets are in one directory, by a convention for their names.</summary>
internal static class Fleet
{
    /// <summary>
    /// What the name of an API's socket ends with, so that no other socket is spoken to: a front-end's would take the words for one.
    /// </summary>
    internal const string Suffix = "api.sock";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>Prints the devices of each, and what does not answer on standard error.</summary>
    /// <returns>The exit code.</returns>
    internal static int List(string directory, CtlKeys keys, Action<string[][]> print)
    {
        string[] sockets = [.. Directory.EnumerateFiles(directory, $"*{Suffix}").Order(StringComparer.Ordinal)];
        if (sockets.Length == 0) throw new IOException($"no API listens in '{directory}': the names of its sockets end with '{Suffix}'");
        (string Name, Task<(MachineView Machine, DeviceList Devices)> Asked)[] all = [.. sockets.Select(socket =>
            (Path.GetFileName(socket)[..^Suffix.Length].TrimEnd('.', '-', '_'), Task.Run(() => Ask(socket, keys))))];
        List<string[]> rows = [["PROCESS", "KIND", "STATE", .. CtlCommand.DeviceColumns]];
        int code = ExitCode.Success;
        foreach ((string name, Task<(MachineView Machine, DeviceList Devices)> asked) in all)
        {
            try
            {
                (MachineView machine, DeviceList devices) = asked.WaitAsync(Patience).GetAwaiter().GetResult();
                string[] head = [name.Length > 0 ? name : $"{machine.Process}", machine.Kind, machine.State];
                if (devices.Devices.Count == 0) rows.Add([.. head, .. CtlCommand.DeviceColumns.Select(_ => "-")]);
                foreach (DeviceView device in devices.Devices) rows.Add([.. head, .. CtlCommand.Row(device)]);
            }
            catch (Exception failed) when (failed is IOException or TimeoutException)
            {
                string why = failed is TimeoutException ? $"'{name}' does not answer within {Patience.TotalSeconds} s" : failed.Message;
                Console.Error.WriteLine(Printable.Of($"vmm: {why}"));
                code = ExitCode.World;
            }
        }
        print([.. rows]);
        return code;
    }

    private static (MachineView Machine, DeviceList Devices) Ask(string socket, CtlKeys keys)
    {
        using CtlClient client = new(socket, keys);
        return (client.Get("/v1/machine", ApiJson.Readable.MachineView), client.Get("/v1/devices", ApiJson.Readable.DeviceList));
    }
}
