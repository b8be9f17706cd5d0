using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Primitives;

namespace Vmm.Tool;

/// <summary>
/// Hands on what a browser asks for to the API's socket, if it is the browser that opened the address which was printed. That address has
/// a token, which is good for one time and is exchanged for a cookie. Other users of the host, and other pages in the browser, have
/// neither.
/// </summary>
internal sealed class WebRelay(CtlClient client) : IHttpApplication<HttpContext>
{
    private const int ChunkBytes = 16 * 1024;

    /// <summary>Headers that belong to one connection, and the cookie, which the other end has no use for.</summary>
    private static readonly HashSet<string> NotHandedOn = new(StringComparer.OrdinalIgnoreCase)
    {
        "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE", "Trailer", "Proxy-Connection", "Host", "Cookie", "Content-Length",
        "Content-Type",
    };

    // 122 random bits of the kernel each.
    private readonly string _session = Guid.NewGuid().ToString("N");
    private string? _token = Guid.NewGuid().ToString("N");

    /// <summary>Where it listens.</summary>
    internal int Port { get; set; }

    /// <summary>What to open, once.</summary>
    internal string Address => string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{Port}/?token={_token}");

    /// <summary>Cookies of one host are sent to all of its ports: the name says whose it is.</summary>
    private string CookieName => string.Create(CultureInfo.InvariantCulture, $"vmm-{Port}");

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext context)
    {
        try
        {
            await Answer(context);
        }
        catch (Exception gone) when (gone is OperationCanceledException || context.RequestAborted.IsCancellationRequested)
        {
            context.Abort();
        }
        catch (ApiProblem refused)
        {
            await Say(context, refused.Status, refused.Message);
        }
        catch (Exception failed) when (failed is IOException or HttpRequestException)
        {
            if (context.Response.HasStarted) context.Abort();
            else await Say(context, StatusCodes.Status502BadGateway,
                $"vmm does not answer: it has ended, or listens no more ({failed.GetBaseException().Message})");
        }
    }

    private Task Answer(HttpContext context)
    {
        HttpRequest request = context.Request;
        // A page whose name was given this host's address sends that name.
        if (request.Host.Host is not ("127.0.0.1" or "localhost") || request.Host.Port != Port)
            return Say(context, StatusCodes.Status403Forbidden, "this address is for 127.0.0.1 only");
        if (request.Path == "/" && request.Query["token"] is [{ } token]) return Admit(context, token);
        if (!IsSame(request.Cookies[CookieName], _session))
            return Say(context, StatusCodes.Status401Unauthorized,
                "this browser has not been let in: open the address that 'vmm ctl SOCKET web' printed, or run that command again");
        BrowserGuard.Check(request);
        return context.Features.Get<IHttpUpgradeFeature>() is { IsUpgradableRequest: true } upgrade && request.Headers.Upgrade.Count > 0
            ? Join(context, upgrade) : HandOn(context);
    }

    private Task Admit(HttpContext context, string token)
    {
        string? expected = Volatile.Read(ref _token);
        // Compared first: who guesses wrong does not use it up.
        if (!IsSame(token, expected) || Interlocked.CompareExchange(ref _token, null, expected) != expected)
            return Say(context, StatusCodes.Status403Forbidden,
                "this address was opened before, and is good for one time: run 'vmm ctl SOCKET web' again");
        context.Response.Headers.SetCookie = $"{CookieName}={_session}; Path=/; HttpOnly; SameSite=Strict";
        context.Response.Headers.Location = "/";
        context.Response.Headers.CacheControl = "no-store";
        context.Response.Headers["Referrer-Policy"] = "no-referrer";
        context.Response.StatusCode = StatusCodes.Status303SeeOther;
        return Task.CompletedTask;
    }

    private async Task HandOn(HttpContext context)
    {
        using HttpRequestMessage asked = Copy(context.Request);
        if (context.Request.ContentType is { } type)
        {
            using MemoryStream body = new();
            await context.Request.Body.CopyToAsync(body, context.RequestAborted);
            asked.Content = new ByteArrayContent(body.ToArray());
            asked.Content.Headers.TryAddWithoutValidation("Content-Type", type);
        }
        using HttpResponseMessage answer = await client.SendAsync(asked, context.RequestAborted);
        context.Response.StatusCode = (int)answer.StatusCode;
        foreach ((string name, IEnumerable<string> values) in answer.Headers.Concat(answer.Content.Headers))
        {
            if (!NotHandedOn.Contains(name) || name is "Content-Type" or "Content-Length")
                context.Response.Headers[name] = new StringValues([.. values]);
        }
        if (HttpMethods.IsHead(context.Request.Method)) return;
        await using Stream from = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
        await Carry(from, context.Response.Body, context.RequestAborted);
    }

    /// <summary>Makes a WebSocket to the API, and carries what the two ends write.</summary>
    private async Task Join(HttpContext context, IHttpUpgradeFeature upgrade)
    {
        using HttpRequestMessage asked = Copy(context.Request);
        asked.Headers.Connection.Add("Upgrade");
        asked.Headers.Upgrade.Add(new ProductHeaderValue("websocket"));
        using HttpResponseMessage answer = await client.SendAsync(asked, context.RequestAborted);
        if (answer.StatusCode != HttpStatusCode.SwitchingProtocols)
        {
            await Say(context, (int)answer.StatusCode, await answer.Content.ReadAsStringAsync(context.RequestAborted));
            return;
        }
        foreach (string value in answer.Headers.GetValues("Sec-WebSocket-Accept")) context.Response.Headers.SecWebSocketAccept = value;
        context.Response.Headers.Upgrade = "websocket";
        context.Response.Headers.Connection = "Upgrade";
        await using Stream far = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
        await using Stream near = await upgrade.UpgradeAsync();
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        Task[] ways = [Carry(far, near, end.Token), Carry(near, far, end.Token)];
        await Task.WhenAny(ways);
        // The one that ended has closed, and said so: what is left in the other direction has no reader.
        await end.CancelAsync();
        await Task.WhenAll(ways).ContinueWith(static done => done.Exception, TaskScheduler.Default);
    }

    private HttpRequestMessage Copy(HttpRequest request)
    {
        string target = request.Path.ToUriComponent() + request.QueryString.ToUriComponent();
        HttpRequestMessage asked = new(new HttpMethod(request.Method), target);
        foreach ((string name, StringValues values) in request.Headers)
        {
            if (NotHandedOn.Contains(name) || (client.IsSecure && name is "Origin" or "Sec-Fetch-Site")) continue;
            asked.Headers.TryAddWithoutValidation(name, (IEnumerable<string?>)values);
        }
        // Over TLS the host is that of the certificate; what the browser says of its page was looked at here.
        if (!client.IsSecure) asked.Headers.Host = request.Host.Value;
        return asked;
    }

    private static async Task Carry(Stream from, Stream to, CancellationToken end)
    {
        byte[] bytes = new byte[ChunkBytes];
        for (int length; (length = await from.ReadAsync(bytes, end)) > 0;)
        {
            await to.WriteAsync(bytes.AsMemory(0, length), end);
            await to.FlushAsync(end);
        }
    }

    /// <summary>Whether a secret is the one that is meant, in a time that does not depend on how much of it is right.</summary>
    private static bool IsSame(string? given, string? meant) => given is not null && meant is not null
        && CryptographicOperations.FixedTimeEquals(MemoryMarshal.AsBytes(given.AsSpan()), MemoryMarshal.AsBytes(meant.AsSpan()));

    private static Task Say(HttpContext context, int status, string sentence)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        context.Response.Headers.CacheControl = "no-store";
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return context.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(sentence + "\n")).AsTask();
    }
}
