using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Vmm.Devices;
using Vmm.Devices.Sandbox;

namespace Vmm.Tool;

/// <summary>
/// The control API: HTTP/1.1 at a Unix socket, for this user and root; HTTP/1.1 and 2 over TLS, for those that <see cref="ApiGate"/> lets
/// in. It runs on the runtime's pool; what it wants of a device it asks the device's reactor for. Its clients are not trusted to be quick,
/// few or right.
/// </summary>
internal sealed class ApiServer : IDisposable
{
    /// <summary>Most clients at the consoles, together.</summary>
    internal const int ConsolesMax = 16;

    private const int ConnectionsMax = 64;
    private const int StreamsMax = 16;
    private const int BodyBytesMax = 64 * 1024, HeaderBytesMax = 8 * 1024, LineBytesMax = 4 * 1024, HeadersMax = 32;

    /// <summary>How long a client may take for the headers of a request, and keep a connection without one.</summary>
    private static readonly TimeSpan HeaderPatience = TimeSpan.FromSeconds(5), IdlePatience = TimeSpan.FromSeconds(60);

    /// <summary>How long answers that are being sent have at the end.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _stopping = new();
    private readonly LocalListener? _listener;
    private readonly bool _isBrokered;
    private readonly ServiceProvider? _services;
    private readonly PrometheusText _metrics;
    private readonly KestrelServer _server;

    /// <summary>Listens.</summary>
    /// <param name="places">Where.</param>
    /// <param name="machine">What is shown and changed.</param>
    /// <param name="log">The log whose level it changes and whose entries are events.</param>
    /// <exception cref="Vmm.Events.KernelException">Another socket listens there, or the directory can't be written.</exception>
    /// <exception cref="IOException">The address is in use, or a file of --api-tls is not what it should be.</exception>
    internal ApiServer(ApiPlaces places, ControlledMachine machine, StandardErrorLogger log)
    {
        SocketTransportFactory transport = new(Options.Create(new SocketTransportOptions()), NullLoggerFactory.Instance);
        ApiGate? gate = places.Tls is { } secured ? new ApiGate(secured) : null;
        KestrelServerOptions options = new() { AddServerHeader = false };
        KestrelServerLimits limits = options.Limits;
        limits.MaxConcurrentConnections = ConnectionsMax;
        limits.MaxConcurrentUpgradedConnections = ConsolesMax;
        limits.MaxRequestBodySize = BodyBytesMax;
        limits.MaxRequestHeadersTotalSize = HeaderBytesMax;
        limits.MaxRequestLineSize = LineBytesMax;
        limits.MaxRequestHeaderCount = HeadersMax;
        limits.RequestHeadersTimeout = HeaderPatience;
        limits.KeepAliveTimeout = IdlePatience;
        limits.Http2.MaxStreamsPerConnection = StreamsMax;
        limits.Http2.MaxRequestHeaderFieldSize = HeaderBytesMax;
        VisitorTransport? visitors = null;
        if (places.Socket is not null && HostBroker.IsThere)
        {
            visitors = new VisitorTransport(transport);
            _isBrokered = true;
            options.Listen(VisitorTransport.Place, listen => listen.Protocols = HttpProtocols.Http1);
        }
        else if (places.Socket is { } path)
        {
            _listener = new LocalListener(path);
            options.ListenHandle((ulong)_listener.Socket.Number, listen =>
            {
                listen.Protocols = HttpProtocols.Http1;
                listen.Use(next => connection => IsTrusted(connection) ? next(connection) : Refuse(connection));
            });
        }
        ListenOptions? network = null;
        if (places.Tls is { } tls)
        {
            options.ApplicationServices = _services = KestrelServices.Make();
            options.Listen(tls.Address, listen =>
            {
                network = listen;
                listen.Protocols = HttpProtocols.Http1AndHttp2;
                listen.UseHttps(new TlsHandshakeCallbackOptions { HandshakeTimeout = HeaderPatience, OnConnection = _ => gate!.Handshake });
            });
        }
        _server = new KestrelServer(Options.Create(options), visitors ?? (IConnectionListenerFactory)transport, NullLoggerFactory.Instance);
        _metrics = new PrometheusText(machine);
        ApiApplication application = new(new ApiRoutes(machine, log, _metrics, _stopping.Token), gate, log.CreateLogger<ApiServer>());
        try
        {
            _server.StartAsync(application, CancellationToken.None).GetAwaiter().GetResult();
        }
        catch
        {
            Dispose();
            throw;
        }
        // Asked for port 0, the kernel chose one.
        machine.Address = network is null ? null : $"https://{network.IPEndPoint}";
        Places = [.. new[] { places.Socket, machine.Address }.OfType<string>()];
    }

    /// <summary>Where it listens, for messages.</summary>
    internal IReadOnlyList<string> Places { get; } = [];

    /// <summary>Listens if that was asked for.</summary>
    /// <param name="places">Where; null if it was not.</param>
    /// <param name="machine">Makes what is controlled.</param>
    /// <param name="log">The log whose level it changes and whose entries are events.</param>
    internal static ApiServer? TryStart(ApiPlaces? places, Func<ControlledMachine> machine, StandardErrorLogger log) =>
        places is null ? null : new ApiServer(places, machine(), log);

    /// <summary>Listens no more, removes the path, and ends connections.</summary>
    public void Dispose()
    {
        _stopping.Cancel();
        using (CancellationTokenSource patience = new(StopPatience)) _server.StopAsync(patience.Token).GetAwaiter().GetResult();
        _server.Dispose();
        _metrics.Dispose();
        _services?.Dispose();
        _listener?.Dispose();
        if (_isBrokered) HostBroker.End();
        _stopping.Dispose();
    }

    private static bool IsTrusted(ConnectionContext connection) =>
        connection.Features.Get<IConnectionSocketFeature>() is { } feature && LocalListener.IsPeerTrusted((int)feature.Socket.Handle);

    private static Task Refuse(ConnectionContext connection)
    {
        connection.Abort(new ConnectionAbortedException("it is of another user"));
        return Task.CompletedTask;
    }
}
