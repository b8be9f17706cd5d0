using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vmm.Tool;

/// <summary>The API of another <c>vmm</c> as calls. What is refused there is an <see cref="IOException"/> with its sentence.</summary>
internal sealed class CtlClient(string socket) : IDisposable
{
    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        ConnectCallback = (_, end) => ConnectAsync(socket, end),
    })
    {
        BaseAddress = new Uri("http://vmm"),
        Timeout = Timeout.InfiniteTimeSpan,
    };

    /// <summary>Asks for something.</summary>
    internal T Get<T>(string path, JsonTypeInfo<T> type) => Read(Send(HttpMethod.Get, path), type);

    /// <summary>Asks for a text.</summary>
    internal string Text(string path)
    {
        using HttpResponseMessage answer = Send(HttpMethod.Get, path);
        return answer.Content.ReadAsStringAsync().GetAwaiter().GetResult();
    }

    /// <summary>Has something done.</summary>
    internal T Do<T>(HttpMethod method, string path, JsonTypeInfo<T> type, ReadOnlyMemory<byte>? body = null) =>
        Read(Send(method, path, body), type);

    /// <summary>Takes a device out.</summary>
    /// <returns>False if that takes longer.</returns>
    internal bool Remove(string name)
    {
        using HttpResponseMessage answer = Send(HttpMethod.Delete, PathOf(name));
        return answer.StatusCode == HttpStatusCode.NoContent;
    }

    /// <summary>What happens from now on, until the other process ends.</summary>
    internal IEnumerable<ApiEvent> Events()
    {
        const string Data = "data: ";
        using HttpResponseMessage answer = Send(HttpMethod.Get, "/v1/events");
        using StreamReader lines = new(answer.Content.ReadAsStream());
        while (lines.ReadLine() is { } line)
        {
            if (line.StartsWith(Data, StringComparison.Ordinal))
                yield return JsonSerializer.Deserialize(line[Data.Length..], ApiJson.Readable.ApiEvent)!;
        }
    }

    /// <summary>Makes a WebSocket of a connection.</summary>
    /// <returns>What both ends write to each other from now on.</returns>
    internal Stream Upgrade(string path)
    {
        HttpRequestMessage request = new(HttpMethod.Get, path);
        request.Headers.Connection.Add("Upgrade");
        request.Headers.Upgrade.Add(new ProductHeaderValue("websocket"));
        request.Headers.Add("Sec-WebSocket-Key", WebSocketHandshake.ClientKey);
        request.Headers.Add("Sec-WebSocket-Version", WebSocketHandshake.Version);
        HttpResponseMessage answer = Send(request);
        if (answer.StatusCode == HttpStatusCode.SwitchingProtocols) return answer.Content.ReadAsStream();
        answer.Dispose();
        throw new IOException($"the API answered {(int)answer.StatusCode}, and no WebSocket");
    }

    /// <summary>Hands on a request as it is; whatever is answered is the caller's.</summary>
    /// <exception cref="HttpRequestException">There is no answer.</exception>
    internal Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancel) =>
        _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);

    internal static string PathOf(string device) => $"/v1/devices/{Uri.EscapeDataString(device)}";

    public void Dispose() => _http.Dispose();

    private static T Read<T>(HttpResponseMessage answer, JsonTypeInfo<T> type)
    {
        using (answer)
        {
            return JsonSerializer.Deserialize(answer.Content.ReadAsStream(), type) ?? throw new IOException("the API answered nothing");
        }
    }

    private HttpResponseMessage Send(HttpMethod method, string path, ReadOnlyMemory<byte>? body = null)
    {
        using HttpRequestMessage request = new(method, path);
        if (body is { } sent)
        {
            request.Content = new ReadOnlyMemoryContent(sent);
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        }
        return Send(request);
    }

    private HttpResponseMessage Send(HttpRequestMessage request)
    {
        HttpResponseMessage answer;
        try
        {
            answer = _http.Send(request, HttpCompletionOption.ResponseHeadersRead);
        }
        catch (HttpRequestException failed)
        {
            string reason = File.Exists(socket) ? failed.GetBaseException().Message : "no such file or directory";
            throw new IOException($"cannot reach the API at '{socket}': {reason}; does a vmm run with --api {socket}?", failed);
        }
        if (answer.IsSuccessStatusCode || answer.StatusCode == HttpStatusCode.SwitchingProtocols) return answer;
        throw new IOException(Read(answer, ApiJson.Readable.ProblemView).Detail);
    }

    private static async ValueTask<Stream> ConnectAsync(string socket, CancellationToken end)
    {
        Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), end).ConfigureAwait(false);
            return new NetworkStream(connection, ownsSocket: true);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }
}
