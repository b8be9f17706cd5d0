using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>A program that uses the API of a <c>vmm</c>.</summary>
internal sealed class ApiClient(string socket) : IDisposable
{
    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancellation) =>
        {
            Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancellation);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://vmm"), Timeout = TimeSpan.FromMinutes(2) };

    /// <summary>Asks for what must be there.</summary>
    internal JsonElement Get(string path) => Send("GET", path).Body;

    /// <summary>Asks for a text.</summary>
    internal string Text(string path) => _http.GetStringAsync(path).Result;

    /// <summary>Reads events until one is of a kind.</summary>
    internal StreamReader Events() => new(_http.GetStreamAsync("/v1/events").Result);

    internal (HttpStatusCode Status, JsonElement Body) Send(string method, string path, string? body = null, string contentType = "application/json",
        bool waits = true)
    {
        using HttpRequestMessage request = new(new HttpMethod(method), path);
        if (!waits) request.Headers.Add("Prefer", "respond-async");
        if (body is not null) request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body)) { Headers = { ContentType = new MediaTypeHeaderValue(contentType) } };
        using HttpResponseMessage answer = _http.Send(request);
        using StreamReader text = new(answer.Content.ReadAsStream());
        string read = text.ReadToEnd();
        if (!answer.IsSuccessStatusCode) Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        return (answer.StatusCode, read.Length == 0 ? default : JsonDocument.Parse(read).RootElement);
    }

    /// <summary>Asks for what is refused.</summary>
    /// <returns>The sentence.</returns>
    internal string Refused(HttpStatusCode status, string method, string path, string? body = null, string contentType = "application/json")
    {
        (HttpStatusCode answered, JsonElement problem) = Send(method, path, body, contentType);
        Assert.Equal(status, answered);
        Assert.Equal((int)status, problem.GetProperty("status").GetInt32());
        return problem.GetProperty("detail").GetString()!;
    }

    public void Dispose() => _http.Dispose();
}
