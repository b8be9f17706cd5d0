using System.Globalization;
using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>Commands about the ports of the virtio console.</summary>
internal static class ConsoleCommands
{
    private const string HungUp = "the host hung up";
    private const string Interrupted = "interrupted";

    internal static ShellCommand[] All { get; } =
    [
        new("console list", [], "the ports of the virtio console", (shell, _) => List(shell)),
        Command("console write", ["NAME", "TEXT…"], "write a line to a port, given by number or name", Write),
        Command("console read", ["NAME"], "wait for a line of a port, and print it",
            (shell, console, port, _) => Read(shell, console, port)),
        Command("console echo", ["NAME", "[LENGTH]"], "give back what a port reads, until the host hangs up", Echo),
        new("console emergency", ["TEXT…"], "print without a queue, as a kernel that panics", Emergency),
    ];

    private static ShellCommand Command(
        string name, string[] parameters, string summary, Func<GuestShell, GuestPorts, GuestPort, ShellArguments,
        ValueTask<string?>> run) =>
        new(name, parameters, summary, async (shell, arguments) =>
        {
            string wanted = arguments.Text("NAME");
            foreach (GuestPorts console in shell.Kernel.Drivers.OfType<GuestPorts>())
            {
                GuestPort? port = console.Ports.FirstOrDefault(port => port.Name == wanted
                    || port.Index.ToString(CultureInfo.InvariantCulture) == wanted);
                if (port is null) continue;
                return await run(shell, console, port, arguments) is { } failure ? $"{console.Name}: port {wanted}: {failure}" : null;
            }
            return $"no port '{wanted}' of a virtio console, 'console list' lists them";
        });

    private static async ValueTask<string?> List(GuestShell shell)
    {
        foreach (GuestPorts console in shell.Kernel.Drivers.OfType<GuestPorts>())
        {
            (int columns, int rows) = console.Size;
            string size = columns == 0 ? "" : $", {columns} columns, {rows} rows";
            foreach (GuestPort port in console.Ports)
            {
                await shell.Say($"{port.Index} {port.Name}: {(port.IsConsole ? "console" + size : "port")}, "
                    + $"host {(port.IsHostOpen ? "connected" : "away")}, "
                    + $"{port.BytesIn} bytes in, {port.BytesOut} bytes out, {port.Waiting} to read");
            }
        }
        return null;
    }

    private static ValueTask<string?> Write(GuestShell shell, GuestPorts console, GuestPort port, ShellArguments arguments) =>
        port.Write(shell.Cpu, Encoding.UTF8.GetBytes(arguments.Text("TEXT") + "\n"));

    private static async ValueTask<string?> Read(GuestShell shell, GuestPorts console, GuestPort port)
    {
        byte[] line = new byte[ILineSource.LineBytesMax];
        int length = 0;
        while (length < line.Length && (length == 0 || line[length - 1] != '\n'))
        {
            if (!await console.WaitUntil(shell.Cpu, () => port.Waiting > 0 || !port.IsHostOpen)) return Interrupted;
            int got = port.Read(line.AsSpan(length), endsAtLine: true);
            if (got == 0 && length == 0) return HungUp;
            if (got == 0) break;
            length += got;
            console.WasRead();
        }
        await shell.Say($"{port.Name}: {Encoding.UTF8.GetString(line, 0, length).TrimEnd('\r', '\n')}");
        return null;
    }

    private static async ValueTask<string?> Echo(GuestShell shell, GuestPorts console, GuestPort port, ShellArguments arguments)
    {
        ulong left = arguments.Number("LENGTH", ulong.MaxValue);
        byte[] chunk = new byte[GuestPort.ChunkBytes];
        for (; left > 0;)
        {
            if (!await console.WaitUntil(shell.Cpu, () => port.Waiting > 0 || !port.IsHostOpen)) return Interrupted;
            int got = port.Read(chunk.AsSpan(0, (int)Math.Min(left, (ulong)chunk.Length)), endsAtLine: false);
            if (got == 0) return left == ulong.MaxValue ? null : HungUp;
            console.WasRead();
            if (await port.Write(shell.Cpu, chunk.AsMemory(0, got)) is { } failure) return failure;
            if (left != ulong.MaxValue) left -= (ulong)got;
        }
        return null;
    }

    private static async ValueTask<string?> Emergency(GuestShell shell, ShellArguments arguments)
    {
        if (shell.First<GuestPorts>() is not { } console) return "no virtio console";
        return await console.PrintEmergency(arguments.Text("TEXT") + "\n") ? null : $"{console.Name}: the device has no emergency writes";
    }
}
