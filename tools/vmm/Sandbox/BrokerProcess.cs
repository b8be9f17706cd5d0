using System.Collections;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Sandbox;

namespace Vmm.Tool;

/// <summary>
/// The process that opens, for one in a sandbox, what requests to its control API name: this program again. It listens for the API too,
/// so that nothing but an operator's request names something.
/// </summary>
internal static class BrokerProcess
{
    /// <summary>In the environment of such a process: the numbers of its sockets.</summary>
    private const string Mark = "VMM_BROKER_OF";

    private const double MiB = 1 << 20;

    internal static bool IsOne => Environment.GetEnvironmentVariable(Mark) is not null;

    /// <summary>Starts one for this process, which is about to go into its sandbox.</summary>
    /// <param name="command">What this process does: <c>serve</c> or <c>boot</c>.</param>
    /// <param name="path">Where the API listens.</param>
    /// <param name="user">As --user says.</param>
    /// <exception cref="IOException">It cannot be started.</exception>
    internal static BrokerChannels Start(string command, string path, string? user)
    {
        BrokerChannels own = HostBroker.MakeChannels(out BrokerChannels ofProcess);
        Dictionary<string, string> environment = [];
        foreach (DictionaryEntry each in Environment.GetEnvironmentVariables()) environment[(string)each.Key] = (string?)each.Value ?? "";
        foreach (string ofManager in IsolatedDevice.OfManager) environment.Remove(ofManager);
        environment[Mark] = string.Create(CultureInfo.InvariantCulture, $"{own.Requests}:{own.Connections}");
        own.SetInherited(true);
        HostBroker.StartProcess(Environment.ProcessPath!, [command, path, .. user is null ? [] : (string[])[user]], environment);
        own.Close();
        return ofProcess;
    }

    /// <summary>Is one, until the process that it serves has ended.</summary>
    /// <returns>The exit code.</returns>
    internal static int Run(string[] args)
    {
        string[] numbers = Environment.GetEnvironmentVariable(Mark)!.Split(':');
        int[] ends = [.. numbers.Select(number => int.Parse(number, CultureInfo.InvariantCulture))];
        BrokerChannels channels = new(ends[0], ends[1]);
        channels.SetInherited(false);
        ProcessDescriptors.CloseInherited();
        // A terminal and a service manager send a signal to all processes. This one ends with the one that it serves.
        using Signals ignored = new Signals().On(_ => { }, [.. Signals.Ending, Signals.User1, Signals.User2, PosixSignal.SIGTSTP]);
        try
        {
            bool isServed = args[0] == "serve";
            HostBroker.GiveUpRights(args.Length > 2 ? args[2] : null);
            using HostBroker broker = new(channels, args[1],
                request => ApiRequest.Named(request.Span, isServed), line => StandardError.Say(LogLevel.Warning, line));
            double own = IsolatedDevice.OwnMemoryOf(Environment.ProcessId) / MiB;
            StandardError.Say(LogLevel.Information, string.Create(CultureInfo.InvariantCulture,
                $"a broker opens what requests to the API name: {own:0.0} MiB of memory of its own"));
            broker.Serve();
            return ExitCode.Success;
        }
        catch (Exception failed) when (failed is IOException or ArgumentException)
        {
            StandardError.Say(LogLevel.Error, failed.Message);
            return ExitCode.World;
        }
    }
}
