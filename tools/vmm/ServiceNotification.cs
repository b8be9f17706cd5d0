using System.Net.Sockets;
using System.Text;

namespace Vmm.Tool;

/// <summary>Tells systemd how far this service is (sd_notify(3)); nothing where no service manager asks.</summary>
internal static class ServiceNotification
{
    internal static void Ready() => Send($"READY=1\nMAINPID={Environment.ProcessId}");

    internal static void Stopping() => Send("STOPPING=1");

    private static void Send(string state)
    {
        string? path = Environment.GetEnvironmentVariable("NOTIFY_SOCKET");
        if (string.IsNullOrEmpty(path)) return;
        // A leading @ stands for the zero byte of an abstract address.
        UnixDomainSocketEndPoint manager = new(path[0] == '@' ? "\0" + path[1..] : path);
        using Socket socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        try
        {
            socket.SendTo(Encoding.UTF8.GetBytes(state), manager);
        }
        catch (SocketException exception)
        {
            // Served all the same: whoever waits for the notification times out with a message of its own.
            Console.Error.WriteLine($"vmm: cannot notify '{path}': {exception.Message}");
        }
    }
}
