using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Vmm.Tool;

/// <summary>What is shown, as Spectre renders it. Texts of guests and devices are never read as markup.</summary>
internal static class TopTable
{
    /// <summary>What is no terminal has no width that a number would have to be cut at.</summary>
    internal const int WidthOfFile = 160;

    private const string Bars = "▁▂▃▄▅▆▇█";

    /// <summary>Latency is drawn between 1 µs and 10 s, each power of ten as high as the next.</summary>
    private const double DecadesMax = 7;

    /// <summary>The devices.</summary>
    /// <param name="model">What they do.</param>
    /// <param name="order">The first is on top.</param>
    /// <param name="selected">The one that is marked; null for none.</param>
    /// <param name="rowsMax">Most rows; the selected one is among them.</param>
    internal static Table Of(TopModel model, TopOrder order, string? selected, int rowsMax)
    {
        Table table = new Table().SimpleBorder();
        table.AddColumn(new TableColumn("device").NoWrap());
        table.AddColumn(new TableColumn("type").NoWrap());
        foreach (string column in (string[])["requests/s", "bytes/s", "p50", "p99", "in flight"])
            table.AddColumn(new TableColumn(column).RightAligned().NoWrap());
        table.AddColumn(new TableColumn("latency").NoWrap());
        table.AddColumn(new TableColumn("limit").NoWrap());
        IReadOnlyList<TopDevice> devices = model.Sorted(order);
        int at = devices.ToList().FindIndex(device => device.View.Name == selected);
        int first = Math.Clamp(at - rowsMax + 1, 0, Math.Max(devices.Count - rowsMax, 0));
        foreach (TopDevice device in devices.Skip(first).Take(rowsMax))
        {
            Style style = device.View.Name == selected ? new Style(decoration: Decoration.Invert) : Style.Plain;
            DeviceView view = device.View;
            table.AddRow(((string[])
            [
                view.Name, view.Type, Short(device.RequestsPerSecond), Short(device.BytesPerSecond), Time(device.P50Us), Time(device.P99Us),
                Number(view.InFlight), Sparkline(device.Latency), LimitOf(view),
            ]).Select(IRenderable (cell) => new Text(Printable.Of(cell), style)));
        }
        return table;
    }

    /// <summary>One device, with all that its reactor says of it, a line each.</summary>
    internal static IReadOnlyList<string> Inside(TopDevice device, string? inspected)
    {
        DeviceView view = device.View;
        List<string> lines =
        [
            $"{Short(device.RequestsPerSecond)} requests/s, {Short(device.BytesPerSecond)} bytes/s, {view.InFlight} in flight; "
                + $"latency: half below {Time(device.P50Us)}, 99 of 100 below {Time(device.P99Us)}",
            $"limit {LimitOf(view)}; {view.GuestFaults} faults of the guest, {view.HostFaults} of the host"
                + (view.Storage is { } storage ? $"; {storage}" : ""),
            "",
        ];
        if (inspected is null) return lines;
        using JsonDocument tree = JsonDocument.Parse(inspected);
        if (tree.RootElement.GetProperty("devices").TryGetProperty(view.Name, out JsonElement node)) AddTo(lines, node, "");
        return [.. lines.Select(Printable.Of)];
    }

    private static void AddTo(List<string> lines, JsonElement node, string indent)
    {
        if (node.ValueKind != JsonValueKind.Object)
        {
            lines.Add(indent + Text(node));
            return;
        }
        foreach (JsonProperty entry in node.EnumerateObject())
        {
            bool isBranch = entry.Value.ValueKind == JsonValueKind.Object;
            lines.Add(isBranch ? indent + entry.Name : $"{indent}{entry.Name} {Text(entry.Value)}");
            if (isBranch) AddTo(lines, entry.Value, indent + "  ");
        }
    }

    private static string Text(JsonElement leaf) => leaf.ValueKind == JsonValueKind.String ? leaf.GetString()! : leaf.GetRawText();

    internal static string Sparkline(IEnumerable<double?> latencyUs) => string.Concat(latencyUs.Select(value => value is { } known
        ? Bars[(int)Math.Clamp(Math.Log10(Math.Max(known, 1)) / DecadesMax * Bars.Length, 0, Bars.Length - 1)] : ' '));

    private static string LimitOf(DeviceView view) => (view.OperationsPerSecond, view.BytesPerSecond) switch
    {
        (0, 0) => "-",
        ( > 0 and var operations, 0) => $"{Short(operations)}/s",
        (0, var bytes) => $"{Short(bytes)}B/s",
        var (operations, bytes) => $"{Short(operations)}/s {Short(bytes)}B/s",
    };

    private static string Short(double value)
    {
        const string Prefixes = " kMGTP";
        int power = 0;
        for (; value >= 999.5 && power < Prefixes.Length - 1; power++) value /= 1000;
        string digits = value.ToString(value >= 100 || power == 0 ? "0" : value >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
        return power == 0 ? digits : $"{digits}{Prefixes[power]}";
    }

    private static string Time(double? micros) => micros switch
    {
        null => "-",
        >= 1e6 => $"{Short(micros.Value / 1e6)}s",
        >= 1e3 => $"{Short(micros.Value / 1e3)}ms",
        _ => $"{Short(micros.Value)}µs",
    };

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
