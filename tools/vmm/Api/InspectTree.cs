using System.Text.Json;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>Writes the live tree of everything as JSON: reactors, devices, queues, connections.</summary>
internal static class InspectTree
{
    internal static async Task WriteAsync(Utf8JsonWriter json, ControlledMachine machine)
    {
        json.WriteStartObject();
        json.WriteStartObject("reactors");
        foreach (RemoteEndpoint reactor in machine.Reactors) Write(json, reactor);
        json.WriteEndObject();
        json.WriteStartObject("devices");
        foreach (ControlledDevice device in machine.Devices)
        {
            // One after the other: a reactor is never held for longer than one device takes.
            InspectNode node;
            try
            {
                node = await DeviceViews.InspectAsync(device).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                json.WriteString(device.Device.Name, $"reactor '{device.Reactor.ReactorName}' does not answer");
                continue;
            }
            json.WritePropertyName(device.Device.Name);
            Write(json, node);
        }
        json.WriteEndObject();
        json.WriteEndObject();
    }

    internal static void Write(Utf8JsonWriter json, InspectNode node)
    {
        json.WriteStartObject();
        foreach ((string name, object value) in node.Entries)
        {
            json.WritePropertyName(JsonNamingPolicy.CamelCase.ConvertName(Joined(name)));
            switch (value)
            {
                case InspectNode below:
                    Write(json, below);
                    break;
                case long number:
                    json.WriteNumberValue(number);
                    break;
                case bool truth:
                    json.WriteBooleanValue(truth);
                    break;
                default:
                    json.WriteStringValue((string)value);
                    break;
            }
        }
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, RemoteEndpoint reactor)
    {
        ReactorStatistics done = reactor.Statistics;
        json.WriteStartObject(reactor.ReactorName);
        json.WriteNumber("waits", done.Waits);
        json.WriteNumber("events", done.Events);
        json.WriteNumber("ghosts", done.Ghosts);
        json.WriteNumber("rebuilds", done.Rebuilds);
        json.WriteNumber("handlerFailures", done.HandlerFailures);
        json.WriteNumber("remoteCalls", done.RemoteCalls);
        json.WriteNumber("wakeUps", done.WakeUps);
        json.WriteNumber("allocatedBytes", done.AllocatedBytes);
        json.WriteEndObject();
    }

    /// <summary><c>in-flight</c> as <c>inFlight</c>.</summary>
    private static string Joined(string name)
    {
        if (!name.Contains('-', StringComparison.Ordinal)) return name;
        string[] words = name.Split('-');
        return words[0] + string.Concat(words.Skip(1).Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
    }
}
