using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>Connections to the API that a broker took, and handed on once it had looked at their requests.</summary>
/// <param name="others">Listens at all other places.</param>
internal sealed class VisitorTransport(IConnectionListenerFactory others) : IConnectionListenerFactory
{
    /// <summary>Stands for the broker's socket among the places where the API listens.</summary>
    internal static readonly EndPoint Place = new UnixDomainSocketEndPoint("/broker");

    /// <inheritdoc/>
    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        if (!ReferenceEquals(endpoint, Place)) return others.BindAsync(endpoint, cancellationToken);
        HostBroker.WaitUntilItListens();
        return ValueTask.FromResult<IConnectionListener>(new Listener());
    }

    private sealed class Listener : IConnectionListener
    {
        private const int WaitingMax = 64;

        private readonly Channel<Socket> _waiting = Channel.CreateBounded<Socket>(WaitingMax);
        private readonly SocketConnectionContextFactory _connections = new(new SocketConnectionFactoryOptions(), NullLogger.Instance);

        internal Listener() => new Thread(Take) { IsBackground = true, Name = "visitors" }.Start();

        public EndPoint EndPoint => Place;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            try
            {
                return _connections.Create(await _waiting.Reader.ReadAsync(cancellationToken));
            }
            catch (ChannelClosedException)
            {
                return null;
            }
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            _waiting.Writer.TryComplete();
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            _waiting.Writer.TryComplete();
            while (_waiting.Reader.TryRead(out Socket? socket)) socket.Dispose();
            _connections.Dispose();
            return ValueTask.CompletedTask;
        }

        private void Take()
        {
            while (HostBroker.TakeVisitor() is { } visitor)
            {
                Socket socket = new(new SafeSocketHandle(visitor.Number, ownsHandle: true));
                visitor.SetHandleAsInvalid();
                if (!_waiting.Writer.TryWrite(socket)) socket.Dispose();
            }
            _waiting.Writer.TryComplete();
        }
    }
}
