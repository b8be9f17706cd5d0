using System.Net.Http;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>A program at a console of the API, by .NET's own WebSocket.</summary>
internal sealed class ConsoleClient : IDisposable
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(1);

    private readonly ClientWebSocket _socket = new();
    private readonly StringBuilder _seen = new();
    private readonly Task _reading;

    internal ConsoleClient(string api, string console)
    {
        using HttpMessageInvoker invoker = new(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) =>
            {
                Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await connection.ConnectAsync(new UnixDomainSocketEndPoint(api), cancel);
                return new NetworkStream(connection, ownsSocket: true);
            },
        }, disposeHandler: false);
        _socket.ConnectAsync(new Uri($"ws://vmm/v1/consoles/{console}"), invoker, CancellationToken.None).Wait(Watchdog);
        _reading = Task.Run(ReadAsync);
    }

    /// <summary>What was printed so far.</summary>
    internal string Seen
    {
        get { lock (_seen) return _seen.ToString(); }
    }

    /// <summary>Why it ended: status and reason. Waits for the end.</summary>
    internal (int Status, string? Reason) End
    {
        get
        {
            Assert.True(_reading.Wait(Watchdog), $"the console did not end: {Seen}");
            return ((int)(_socket.CloseStatus ?? 0), _socket.CloseStatusDescription);
        }
    }

    internal void Type(string text, WebSocketMessageType type = WebSocketMessageType.Binary) =>
        _socket.SendAsync(Encoding.UTF8.GetBytes(text), type, endOfMessage: true, CancellationToken.None).Wait(Watchdog);

    internal void WaitFor(string text) => Assert.True(SpinWait.SpinUntil(() =>
    {
        Thread.Sleep(10);
        return Seen.Contains(text, StringComparison.Ordinal) || _reading.IsCompleted;
    }, Watchdog) && Seen.Contains(text, StringComparison.Ordinal), $"'{text}' did not appear: {Seen}");

    internal void Close()
    {
        _socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None).Wait(Watchdog);
        Assert.Equal((int)WebSocketCloseStatus.NormalClosure, End.Status);
    }

    public void Dispose() => _socket.Dispose();

    private async Task ReadAsync()
    {
        byte[] bytes = new byte[4096];
        while (true)
        {
            ValueWebSocketReceiveResult got = await _socket.ReceiveAsync(bytes.AsMemory(), CancellationToken.None);
            if (got.MessageType == WebSocketMessageType.Close) return;
            Assert.Equal(WebSocketMessageType.Binary, got.MessageType);
            lock (_seen) _seen.Append(Encoding.UTF8.GetString(bytes, 0, got.Count));
        }
    }
}
