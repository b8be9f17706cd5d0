using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vmm.Tool;

/// <summary>What a client shows over a network, and whom it trusts: files.</summary>
/// <param name="Authorities">Those that certify the server; null for those that the host trusts.</param>
/// <param name="Certificate">The client's certificate; null for none.</param>
/// <param name="Key">Its key.</param>
/// <param name="Token">The token; null for none.</param>
internal sealed record CtlKeys(string? Authorities, string? Certificate, string? Key, string? Token)
{
    /// <summary>Nothing: what a Unix socket asks for.</summary>
    internal static CtlKeys None { get; } = new(null, null, null, null);
}

/// <summary>The API of another <c>vmm</c> as calls. What is refused there is an <see cref="IOException"/> with its sentence.</summary>
internal sealed class CtlClient : IDisposable
{
    private const string Secure = "https://";

    private readonly string _place;
    private readonly HttpClient _http;
    private readonly SshTunnel? _tunnel;

    /// <param name="place">A Unix socket, or <c>https://HOST:PORT</c>.</param>
    /// <param name="keys">For the latter.</param>
    /// <param name="tunnel">What connects to a socket of another host; null for one of this. Taken over.</param>
    /// <exception cref="IOException">A file is not there, or not what it should be.</exception>
    internal CtlClient(string place, CtlKeys keys, SshTunnel? tunnel = null)
    {
        _place = place;
        _tunnel = tunnel;
        string socket = tunnel?.Socket ?? place;
        SocketsHttpHandler handler = new() { UseProxy = false, UseCookies = false, AllowAutoRedirect = false };
        if (!IsSecure) handler.ConnectCallback = (_, end) => ConnectAsync(socket, end);
        else if (!Uri.TryCreate(place, UriKind.Absolute, out _)) throw new UsageException($"'{place}': give {Secure}HOST:PORT");
        else handler.SslOptions = Read(keys);
        _http = new HttpClient(handler) { BaseAddress = new Uri(IsSecure ? place : "http://vmm"), Timeout = Timeout.InfiniteTimeSpan };
        if (IsSecure && keys.Token is { } token)
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", File.ReadAllText(token).Trim());
    }

    /// <summary>Whether the other process may be on another host, whose files have the same paths and are others.</summary>
    internal bool MayBeElsewhere => IsSecure || _tunnel is not null;

    /// <summary>Whether it is reached over TLS, by the name of its certificate.</summary>
    internal bool IsSecure => _place.StartsWith(Secure, StringComparison.OrdinalIgnoreCase);

    private static SslClientAuthenticationOptions Read(CtlKeys keys)
    {
        // Nothing is fetched that a certificate names.
        X509ChainPolicy policy = new() { RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true };
        SslClientAuthenticationOptions options = new() { CertificateChainPolicy = policy };
        try
        {
            if (keys.Authorities is { } authorities)
            {
                policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
                policy.CustomTrustStore.ImportFromPemFile(authorities);
            }
            if (keys.Certificate is { } certificate)
                options.ClientCertificateContext = SslStreamCertificateContext.Create(
                    X509Certificate2.CreateFromPemFile(certificate, keys.Key), null, offline: true);
            return options;
        }
        catch (CryptographicException refused)
        {
            throw new IOException($"cannot use {string.Join(", ", new[] { keys.Authorities, keys.Certificate, keys.Key }.OfType<string>()
                .Select(file => $"'{file}'"))}: {refused.Message}", refused);
        }
    }

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(200);

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

    /// <summary>Has something done that may take long, and waits for its end.</summary>
    internal void Work(HttpMethod method, string path, ReadOnlyMemory<byte>? body = null)
    {
        string operation;
        using (HttpResponseMessage answer = Send(method, path, body))
        {
            if (answer.StatusCode != HttpStatusCode.Accepted || answer.Headers.Location is not { } location) return;
            operation = location.ToString();
        }
        while (Get(operation, ApiJson.Readable.OperationView) is var view && view.State != "done")
        {
            if (view.Problem is { } problem) throw new IOException(problem.Detail);
            Thread.Sleep(BetweenLooks);
        }
    }

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

    public void Dispose()
    {
        _http.Dispose();
        _tunnel?.Dispose();
    }

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
            string reason = MayBeElsewhere || File.Exists(_place) ? failed.GetBaseException().Message : "no such file or directory";
            string option = IsSecure ? "--api-tls" : $"--api {_place}";
            throw new IOException($"cannot reach the API at '{_place}': {reason}; does a vmm run with {option}?", failed);
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
