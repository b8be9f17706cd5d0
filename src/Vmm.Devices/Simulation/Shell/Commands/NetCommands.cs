using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;

namespace Vmm.Devices.Simulation;

/// <summary>Commands about the network card. While a command, or the prompt, waits, the guest answers pings.</summary>
internal static class NetCommands
{
    private const int PingsStandard = 4;
    private const uint PingIdentifier = 0x766d;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    internal static ShellCommand[] All { get; } =
    [
        Command("net", [], "the network card", (shell, net, _) => Show(shell, net)),
        Command("net ip", ["ADDRESS"], "give it an address such as 10.0.0.2/24", SetAddress),
        Command("net ping", ["HOST", "[COUNT]"], "ask a host of the network whether it is there", Ping),
        Command("net send", ["LENGTH", "[SEED]"], "offer bytes by TFTP, and wait until a host has fetched them", Send),
        Command("net recv", [], "wait for a file that a host brings by TFTP", Receive),
    ];

    private static ShellCommand Command(string name, string[] parameters, string summary,
        Func<GuestShell, GuestNet, ShellArguments, ValueTask<string?>> run) =>
        new(name, parameters, summary, async (shell, arguments) =>
        {
            if (shell.First<GuestNet>() is not { } net) return "no network card";
            return await run(shell, net, arguments) is { } failure ? $"{net.Name}: {failure}" : null;
        });

    private static async ValueTask<string?> Show(GuestShell shell, GuestNet net)
    {
        string address = net.Stack.Address == 0 ? "no address" : $"{Text(net.Stack.Address)}/{net.Stack.PrefixLength}";
        await shell.Say($"{net.Name}: {net.Stack.Mac}, mtu {net.Mtu}, link {(net.IsLinkUp ? "up" : "down")}, {address}, "
            + $"{net.Stack.EchoesAnswered} pings answered, {net.Statistics}");
        return null;
    }

    private static ValueTask<string?> SetAddress(GuestShell shell, GuestNet net, ShellArguments arguments)
    {
        string[] parts = arguments.Text("ADDRESS").Split('/');
        if (parts.Length > 2 || !TryRead(parts[0], out uint address) || address == 0
            || !int.TryParse(parts.Length == 1 ? "24" : parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int prefix)
                || prefix > 32)
            return new ValueTask<string?>($"'{arguments.Text("ADDRESS")}' is no address: give one such as 10.0.0.2/24");
        net.Stack.SetAddress(address, prefix);
        return default;
    }

    private static async ValueTask<string?> Ping(GuestShell shell, GuestNet net, ShellArguments arguments)
    {
        string host = arguments.Text("HOST");
        if (!TryRead(host, out uint address)) return $"'{host}' is no address";
        if (!net.Stack.IsNear(address)) return net.Stack.Address == 0
            ? NoAddress : $"{host} is not on the network of {Text(net.Stack.Address)}/{net.Stack.PrefixLength}";
        ulong count = arguments.Number("COUNT", PingsStandard), answered = 0;
        for (uint i = 0; i < count; i++)
        {
            if (!net.Stack.Knows(address)) await net.Send(shell.Cpu, net.Stack.Ask(address));
            if (await net.WaitUntil(shell.Cpu, () => net.Stack.Knows(address), Patience))
            {
                uint which = (PingIdentifier << 16) | (ushort)(i + 1);
                long start = Stopwatch.GetTimestamp();
                await net.Send(shell.Cpu, net.Stack.Ping(address, which));
                if (await net.WaitUntil(shell.Cpu, () => net.Stack.LastEchoReply == which, Patience))
                {
                    answered++;
                    await shell.Say(string.Create(CultureInfo.InvariantCulture,
                        $"{host}: {i + 1}, {Stopwatch.GetElapsedTime(start).TotalMicroseconds:F0} µs"));
                }
            }
            if (shell.Interruption is { } interruption) return interruption;
        }
        await shell.Say($"ping {host}: {answered} of {count} answered");
        return answered == count ? null : "not every ping was answered";
    }

    private static async ValueTask<string?> Send(GuestShell shell, GuestNet net, ShellArguments arguments)
    {
        ulong length = arguments.Number("LENGTH");
        if (length > TftpServer.BytesMax) return $"{length} bytes are too many: offer at most {TftpServer.BytesMax}";
        byte[] words = new byte[(length + sizeof(ulong) - 1) / sizeof(ulong) * sizeof(ulong)];
        DiskPattern.Fill(arguments.Number("SEED", 1), 0, words);
        return await Serve(shell, net, words[..(int)length], "sent");
    }

    private static ValueTask<string?> Receive(GuestShell shell, GuestNet net, ShellArguments arguments) =>
        Serve(shell, net, offered: null, "received");

    private static async ValueTask<string?> Serve(GuestShell shell, GuestNet net, byte[]? offered, string done)
    {
        if (net.Stack.Address == 0) return NoAddress;
        TftpServer server = new(offered, net.Mtu);
        net.Stack.Service = server;
        try
        {
            await shell.Say($"waiting for a host at tftp://{Text(net.Stack.Address)}/");
            if (!await net.WaitUntil(shell.Cpu, () => server.IsDone)) return shell.Interruption ?? "the device is broken until it is reset";
            await shell.Say($"{done} {server.Bytes} bytes sha256 {server.Sha256()}");
            return null;
        }
        finally
        {
            net.Stack.Service = null;
        }
    }

    private const string NoAddress = "it has no address: give it one with 'net ip'";

    private static bool TryRead(string text, out uint address)
    {
        address = 0;
        if (!IPAddress.TryParse(text, out IPAddress? parsed) || parsed.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork)
            return false;
        address = BinaryPrimitives.ReadUInt32BigEndian(parsed.GetAddressBytes());
        return true;
    }

    private static string Text(uint address) => new IPAddress(BinaryPrimitives.ReverseEndianness(address)).ToString();
}
