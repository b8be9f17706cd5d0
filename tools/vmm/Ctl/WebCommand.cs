using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Vmm.Tool;

/// <summary><c>vmm ctl SOCKET web</c>: a port of this host for a browser, until a signal ends it.</summary>
internal static class WebCommand
{
    private const int ConnectionsMax = 64, BodyBytesMax = 64 * 1024;

    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    /// <summary>Listens, and prints the address to open.</summary>
    /// <param name="client">The API; it must be there.</param>
    /// <param name="port">Where; 0 for any that is free.</param>
    /// <exception cref="IOException">The API is not there, or the port is in use.</exception>
    internal static void Run(CtlClient client, int port)
    {
        client.Get("/v1/machine", ApiJson.Readable.MachineView);
        KestrelServerOptions options = new() { AddServerHeader = false };
        options.Limits.MaxConcurrentConnections = ConnectionsMax;
        options.Limits.MaxConcurrentUpgradedConnections = ConnectionsMax;
        options.Limits.MaxRequestBodySize = BodyBytesMax;
        ListenOptions? listening = null;
        options.Listen(System.Net.IPAddress.Loopback, port, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            listening = listen;
        });
        SocketTransportFactory transport = new(Options.Create(new SocketTransportOptions()), NullLoggerFactory.Instance);
        using KestrelServer server = new(Options.Create(options), transport, NullLoggerFactory.Instance);
        using ManualResetEventSlim ended = new();
        using Signals signals = new Signals().On(_ => ended.Set(), Signals.Ending);
        WebRelay relay = new(client);
        server.StartAsync(relay, CancellationToken.None).GetAwaiter().GetResult();
        relay.Port = listening!.IPEndPoint!.Port;
        Console.Out.WriteLine(relay.Address);
        Console.Out.Flush();
        Console.Error.WriteLine("vmm: open this address in a browser of this host: it opens once. Ctrl-C ends");
        ended.Wait();
        using CancellationTokenSource patience = new(StopPatience);
        server.StopAsync(patience.Token).GetAwaiter().GetResult();
    }
}
