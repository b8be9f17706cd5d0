using System.CommandLine;
using System.Net;
using System.Text.Json;

namespace Vmm.Tool;

/// <summary>
/// <c>vmm discover</c>: writes what Prometheus is to scrape on this host, for its discovery by files (<c>file_sd_configs</c>).
/// </summary>
internal static class DiscoverCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string[]> directories = new("DIRECTORY")
        {
            Description = $"Where APIs have their sockets, whose names end with '{Fleet.Suffix}'.",
            Arity = ArgumentArity.OneOrMore,
        };
        TextOption output = new("--output", "FILE", "Write there, at once as a whole; without it, to standard output.");
        TextOption host = new("--host", "NAME", "What Prometheus is to call this host; without it, the address that each listens at.");
        NumberOption every =
            new("--every", "SECONDS", "Do it again after that time, until a signal ends it; 0 for once", 0, 3600, standard: 0);
        Command command = new("discover", "List each vmm of this host that listens with --api-tls, for Prometheus to find it by a file.")
        {
            directories, output, host, every,
        };
        command.SetAction(parsed =>
        {
            if (!carriesOut) return ExitCode.Success;
            int seconds = every.In(parsed);
            if (seconds > 0 && parsed.GetValue(output) is null)
                throw new UsageException("--every without --output: one list behind the other is none");
            using ManualResetEventSlim ended = new();
            using Signals? signals = seconds > 0 ? new Signals().On(_ => ended.Set(), Signals.Ending) : null;
            int code;
            do code = Once(parsed.GetValue(directories)!, parsed.GetValue(host), parsed.GetValue(output));
            while (seconds > 0 && !ended.Wait(TimeSpan.FromSeconds(seconds)));
            return code;
        });
        return command;
    }

    private static int Once(string[] directories, string? host, string? output)
    {
        List<TargetGroup> groups = [];
        bool all = Fleet.TryAsk([.. directories.SelectMany(Fleet.SocketsIn)], CtlKeys.None,
            client => client.Get("/v1/machine", ApiJson.Readable.MachineView),
            (name, machine) =>
            {
                if (machine.Address is not { } address)
                {
                    Console.Error.WriteLine(Printable.Of(
                        $"vmm: '{name}' is left out: Prometheus cannot reach a Unix socket; give it --api-tls"));
                    return;
                }
                TargetLabels labels = new()
                {
                    Scheme = "https",
                    Vmm = name.Length > 0 ? name : $"{machine.Process}",
                    Kind = machine.Kind,
                };
                groups.Add(new TargetGroup { Targets = [TargetOf(new Uri(address), host)], Labels = labels });
            });
        byte[] text = [.. JsonSerializer.SerializeToUtf8Bytes(groups, DiscoverJson.Default.ListTargetGroup), (byte)'\n'];
        if (output is null)
        {
            using Stream standard = Console.OpenStandardOutput();
            standard.Write(text);
        }
        else
        {
            // Prometheus reads it whenever it changes: never half of it.
            string made = $"{output}.new";
            File.WriteAllBytes(made, text);
            File.Move(made, output, overwrite: true);
        }
        return all ? ExitCode.Success : ExitCode.World;
    }

    private static string TargetOf(Uri address, string? host)
    {
        string here = IPAddress.TryParse(address.Host.Trim('[', ']'), out IPAddress? bound)
            && (bound.Equals(IPAddress.Any) || bound.Equals(IPAddress.IPv6Any)) ? Dns.GetHostName() : address.Host;
        return $"{host ?? here}:{address.Port}";
    }
}
