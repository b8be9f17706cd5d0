using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Vmm.EndToEnd;

/// <summary>The host's side of a guest's network tests: a server that sends, one that takes, one that gives back, each at a port.</summary>
internal sealed class NetPeers : IDisposable
{
    private const int DownPort = 7001, UpPort = 7002, EchoPort = 7003;

    private readonly List<TcpListener> _listeners = [];
    private readonly byte[] _down;
    private readonly TaskCompletionSource<string> _up = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal NetPeers(NetworkNamespace network, int downBytes)
    {
        _down = new byte[downBytes];
        new Random(4).NextBytes(_down);
        Serve(network, DownPort, async stream => await stream.WriteAsync(_down));
        Serve(network, UpPort, async stream => _up.TrySetResult(Convert.ToHexStringLower(await SHA256.HashDataAsync(stream))));
        Serve(network, EchoPort, stream => stream.CopyToAsync(stream));
    }

    /// <summary>The checksum of what the guest is sent.</summary>
    internal string Down => Convert.ToHexStringLower(SHA256.HashData(_down));

    /// <summary>The checksum of what the guest has sent.</summary>
    internal Task<string> Up => _up.Task;

    public void Dispose() => _listeners.ForEach(listener => listener.Dispose());

    private void Serve(NetworkNamespace network, int port, Func<NetworkStream, Task> serve)
    {
        TcpListener listener = network.Inside(() =>
        {
            TcpListener made = new(IPAddress.Any, port);
            made.Start(backlog: 200);
            return made;
        });
        _listeners.Add(listener);
        _ = AcceptAsync(listener, serve);
    }

    private static async Task AcceptAsync(TcpListener listener, Func<NetworkStream, Task> serve)
    {
        try
        {
            while (true) _ = ServeAsync(await listener.AcceptTcpClientAsync(), serve);
        }
        catch (SocketException)
        {
        }
        catch (ObjectDisposedException)
        {
        }
    }

    private static async Task ServeAsync(TcpClient client, Func<NetworkStream, Task> serve)
    {
        using (client) await serve(client.GetStream());
    }
}
