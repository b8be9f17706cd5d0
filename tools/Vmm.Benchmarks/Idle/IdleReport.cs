using System.Globalization;
using Spectre.Console;

namespace Vmm.Benchmarks;

/// <summary><c>compare idle</c>: how often a machine with every device attached wakes up while its guest does nothing.</summary>
internal static class IdleReport
{
    internal const string Suite = "idle";

    private static readonly TimeSpan Time = TimeSpan.FromSeconds(10);

    internal static void Print(IAnsiConsole console)
    {
        using IdleMachine machine = new();
        IdleFigures figures = machine.Watch(Time);
        console.WriteLine();
        string devices = string.Join(", ", machine.Devices);
        console.MarkupLineInterpolated($"[bold]{Suite}[/]: a guest waits at its console for {Time.TotalSeconds} s, with {devices}");
        Table table = new Table().Border(TableBorder.Simple).AddColumn("")
            .AddColumn(new TableColumn("in all").RightAligned()).AddColumn(new TableColumn("a second").RightAligned());
        foreach ((string what, long count) in ((string, long)[])[("wake-ups of the reactor", figures.Reactor),
            ("wake-ups of the vCPU", figures.Vcpu), ("exits of the vCPU", figures.Exits)])
            table.AddRow(what, count.ToString(CultureInfo.InvariantCulture), (count / Time.TotalSeconds)
                .ToString("0.0", CultureInfo.InvariantCulture));
        console.Write(table);
    }
}
