using System.Diagnostics;
using Vmm.Devices.Native;

namespace Vmm.Devices.Tests;

/// <summary>An NBD server of another project, at a Unix socket, which can be killed and started again.</summary>
internal sealed class ServerProcess : IDisposable
{
    /// <summary>The port of NBD (IANA).</summary>
    private const int NbdPort = 10809;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly string _program;
    private readonly string[] _arguments;
    private readonly System.Net.EndPoint _at;
    private Process _process;

    private ServerProcess(string program, string[] arguments, string socket, System.Net.EndPoint? at = null)
    {
        _at = at ?? new System.Net.Sockets.UnixDomainSocketEndPoint(socket);
        _program = program;
        _arguments = arguments;
        Socket = socket;
        _process = Start();
    }

    internal string Socket { get; }

    internal string Uri => $"nbd+unix:///?socket={Socket}";

    /// <summary>nbdkit with a plugin, and filters: <c>["--filter=delay", "memory", "1M", "rdelay=1ms"]</c>.</summary>
    internal static ServerProcess Nbdkit(params string[] arguments)
    {
        string socket = NewSocket();
        return new ServerProcess("nbdkit", ["--foreground", "--unix", socket, .. arguments], socket);
    }

    /// <summary>nbdkit at a port of loopback, which the options name.</summary>
    internal static ServerProcess NbdkitAt(string[] options, params string[] arguments)
    {
        int port = int.Parse(options[Array.IndexOf(options, "--port") + 1], System.Globalization.CultureInfo.InvariantCulture);
        System.Net.IPEndPoint at = new(System.Net.IPAddress.Loopback, port);
        return new ServerProcess("nbdkit", ["--foreground", .. options, .. arguments], NewSocket(), at);
    }

    /// <summary>nbdkit in another network.</summary>
    internal static ServerProcess NbdkitIn(FarNetwork network, params string[] arguments)
    {
        string[] command = [.. network.Wrapper, "nbdkit", "--foreground", .. arguments];
        return new ServerProcess(command[0], command[1..], NewSocket(), new System.Net.IPEndPoint(network.Address, NbdPort));
    }

    /// <summary>qemu-nbd over an image.</summary>
    internal static ServerProcess QemuNbd(string image, params string[] arguments)
    {
        string socket = NewSocket();
        return new ServerProcess("qemu-nbd", ["--persistent", "--format=raw", "--shared=16", $"--socket={socket}", .. arguments, image],
            socket);
    }

    internal static string NewSocket() => Path.Combine(Path.GetTempPath(), $"vmm-nbd-{Guid.NewGuid():n}.sock");

    /// <summary>Ends it as a crash does: SIGKILL.</summary>
    internal void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Starts it again at the same socket.</summary>
    internal void Restart()
    {
        File.Delete(Socket);
        _process.Dispose();
        _process = Start();
    }

    public void Dispose()
    {
        if (!_process.HasExited) Kill();
        _process.Dispose();
        File.Delete(Socket);
    }

    private Process Start()
    {
        ProcessStartInfo info = new(_program, _arguments) { RedirectStandardError = true };
        Process process = Process.Start(info)!;
        for (Stopwatch clock = Stopwatch.StartNew(); ;)
        {
            if (StreamSocket.Connect(_at, Patience, out Vmm.Events.OwnedFd? fd) == Vmm.Events.Errno.None)
            {
                fd!.Dispose();
                return process;
            }
            if (process.HasExited || clock.Elapsed > Patience)
                throw new InvalidOperationException($"{_program} {string.Join(' ', _arguments)} does not serve: "
                    + $"{(process.HasExited ? process.StandardError.ReadToEnd() : "no socket")}");
            Thread.Sleep(10);
        }
    }
}
