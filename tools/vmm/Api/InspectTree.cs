using System.Text.Json;
using System.Text.Json.Nodes;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The live tree of everything as JSON: reactors, devices, queues, connections.</summary>
internal static class InspectTree
{
    internal static async Task<JsonObject> OfAsync(ControlledMachine machine)
    {
        JsonObject reactors = [], devices = [];
        foreach (RemoteEndpoint reactor in machine.Reactors) reactors[reactor.ReactorName] = Of(reactor.Statistics);
        foreach (ControlledDevice device in machine.Devices)
        {
            // One after the other: a reactor is never held for longer than one device takes.
            try
            {
                devices[device.Device.Name] = Of(await DeviceViews.InspectAsync(device).ConfigureAwait(false));
            }
            catch (TimeoutException)
            {
                devices[device.Device.Name] = $"reactor '{device.Reactor.ReactorName}' does not answer";
            }
        }
        return new JsonObject { ["reactors"] = reactors, ["devices"] = devices };
    }

    private static JsonObject Of(InspectNode node)
    {
        JsonObject tree = [];
        foreach ((string name, object value) in node.Entries)
        {
            tree[JsonNamingPolicy.CamelCase.ConvertName(Joined(name))] = value switch
            {
                InspectNode below => Of(below),
                long number => number,
                bool truth => truth,
                _ => (JsonNode)(string)value,
            };
        }
        return tree;
    }

    private static JsonObject Of(ReactorStatistics done) => new()
    {
        ["waits"] = done.Waits,
        ["events"] = done.Events,
        ["ghosts"] = done.Ghosts,
        ["rebuilds"] = done.Rebuilds,
        ["handlerFailures"] = done.HandlerFailures,
        ["remoteCalls"] = done.RemoteCalls,
        ["wakeUps"] = done.WakeUps,
        ["allocatedBytes"] = done.AllocatedBytes,
    };

    /// <summary><c>in-flight</c> as <c>inFlight</c>.</summary>
    private static string Joined(string name)
    {
        if (!name.Contains('-', StringComparison.Ordinal)) return name;
        string[] words = name.Split('-');
        return words[0] + string.Concat(words.Skip(1).Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
    }
}
