using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>Reports to systemd how far this service is (sd_notify(3)); nothing where no service manager asks.</summary>
internal static class ServiceNotification
{
    internal static void Ready() => Send($"READY=1\nMAINPID={Environment.ProcessId}");

    internal static void Stopping() => Send("STOPPING=1");

    /// <summary>Reports that options are read again; <see cref="Ready"/> ends it.</summary>
    internal static void Reloading() =>
        Send(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={Stopwatch.GetTimestamp() / 1000}"));

    /// <summary>Reports that the service still answers.</summary>
    internal static void Alive() => Send("WATCHDOG=1");

    /// <summary>
    /// How often <see cref="Alive"/> is to be called, twice in the time that the service manager waits; infinite if it does not wait.
    /// </summary>
    internal static TimeSpan WatchdogPeriod { get; } = ReadPeriod();

    private static TimeSpan ReadPeriod()
    {
        string? pid = Environment.GetEnvironmentVariable("WATCHDOG_PID");
        bool isOurs = string.IsNullOrEmpty(pid) || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        string? text = Environment.GetEnvironmentVariable("WATCHDOG_USEC");
        if (!isOurs || !ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong microseconds) || microseconds == 0)
            return Timeout.InfiniteTimeSpan;
        // Not more often than a reactor can be asked, not less often than a wait can last.
        return TimeSpan.FromMilliseconds(Math.Clamp(microseconds / 2000, 1, int.MaxValue));
    }

    private static Socket? _socket;
    private static UnixDomainSocketEndPoint? _manager;

    /// <summary>Makes the socket, for a process that can make none later. Otherwise the first report does.</summary>
    internal static void TryOpen()
    {
        try
        {
            Open();
        }
        catch (Exception exception) when (exception is SocketException or ArgumentException)
        {
            // The first report says why.
        }
    }

    private static void Open()
    {
        if (_socket is not null || Address is not { } path) return;
        // An @ at the beginning stands for the zero byte of an abstract address. To make an address the runtime makes a socket too.
        _manager = new UnixDomainSocketEndPoint(path[0] == '@' ? "\0" + path[1..] : path);
        _socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
    }

    private static string? Address => Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is { Length: > 0 } path ? path : null;

    private static void Send(string state)
    {
        if (Address is not { } path) return;
        try
        {
            Open();
            _socket!.SendTo(Encoding.UTF8.GetBytes(state), _manager!);
        }
        catch (Exception exception) when (exception is SocketException or ArgumentException)
        {
            // The devices are served all the same; the service manager's own timeout reports what it misses.
            StandardError.Say(LogLevel.Warning, $"cannot notify '{path}': {exception.Message}");
        }
    }
}
