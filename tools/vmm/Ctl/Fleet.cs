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
        string[] sockets = SocketsIn(directory);
        if (sockets.Length == 0) throw new IOException($"no API listens in '{directory}': the names of its sockets end with '{Suffix}'");
        List<string[]> rows = [["PROCESS", "KIND", "STATE", .. CtlCommand.DeviceColumns]];
        bool answered = TryAsk(sockets, keys,
            client => (client.Get("/v1/machine", ApiJson.Readable.MachineView), client.Get("/v1/devices", ApiJson.Readable.DeviceList)),
            (name, answer) =>
            {
                (MachineView machine, DeviceList devices) = answer;
                string[] head = [name.Length > 0 ? name : $"{machine.Process}", machine.Kind, machine.State];
                if (devices.Devices.Count == 0) rows.Add([.. head, .. CtlCommand.DeviceColumns.Select(_ => "-")]);
                foreach (DeviceView device in devices.Devices) rows.Add([.. head, .. CtlCommand.Row(device)]);
            });
        print([.. rows]);
        return answered ? ExitCode.Success : ExitCode.World;
    }

    /// <summary>The sockets of APIs in a directory, by name.</summary>
    internal static string[] SocketsIn(string directory) =>
        [.. Directory.EnumerateFiles(directory, $"*{Suffix}").Order(StringComparer.Ordinal)];

    /// <summary>Asks all at once, and says on standard error which do not answer.</summary>
    /// <param name="sockets">Where they listen.</param>
    /// <param name="keys">What is shown to them.</param>
    /// <param name="ask">Asks one.</param>
    /// <param name="take">Gets the answers one after the other, each with the name of its socket without <see cref="Suffix"/>.</param>
    /// <returns>Whether all answered.</returns>
    internal static bool TryAsk<T>(IReadOnlyList<string> sockets, CtlKeys keys, Func<CtlClient, T> ask, Action<string, T> take)
    {
        Task<T>[] asked = [.. sockets.Select(socket => Task.Run(() =>
        {
            using CtlClient client = new(socket, keys);
            return ask(client);
        }))];
        bool all = true;
        for (int i = 0; i < asked.Length; i++)
        {
            string name = Path.GetFileName(sockets[i])[..^Suffix.Length].TrimEnd('.', '-', '_');
            try
            {
                take(name, asked[i].WaitAsync(Patience).GetAwaiter().GetResult());
            }
            catch (Exception failed) when (failed is IOException or TimeoutException)
            {
                string why = failed is TimeoutException ? $"'{name}' does not answer within {Patience.TotalSeconds} s" : failed.Message;
                Console.Error.WriteLine(Printable.Of($"vmm: {why}"));
                all = false;
            }
        }
        return all;
    }
}
