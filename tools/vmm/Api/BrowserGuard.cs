using System.Net;
using Microsoft.AspNetCore.Http;

namespace Vmm.Tool;

/// <summary>
/// Refuses what a page of another site has a browser send. A browser that can reach this socket, by a port that is forwarded to it,
/// sends there what any page wants: with that page's name as origin, or by a name of the page's that was given this host's address.
/// </summary>
internal static class BrowserGuard
{
    /// <summary>Looks at a request.</summary>
    /// <exception cref="ApiProblem">It comes from elsewhere.</exception>
    internal static void Check(HttpRequest request)
    {
        IHeaderDictionary headers = request.Headers;
        // A name with dots is one that its owner can give any address. A Unix socket has no name that a client would need.
        if (request.HttpContext.Connection.LocalIpAddress is null && !IsLocal(request.Host.Host))
            throw Refused($"the name '{Printable.Of(request.Host.Host)}' is not one of this socket: ask for localhost");
        if (headers.Origin is [{ } origin, ..]
            && (!Uri.TryCreate(origin, UriKind.Absolute, out Uri? page) || !IsSame(page.Authority, request.Host)))
            throw Refused("the request comes from a page of another site");
        if (headers["Sec-Fetch-Site"] is [not ("same-origin" or "none"), ..] && !IsLink(request))
            throw Refused("the request comes from a page of another site");
    }

    /// <summary>Whether a name is an address, or has no dots and so belongs to this host or this network.</summary>
    private static bool IsLocal(string host) => !host.Contains('.', StringComparison.Ordinal) || IPAddress.TryParse(host, out _);

    private static bool IsSame(string authority, HostString host) =>
        string.Equals(authority, host.Value, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a link to here was followed to here, which shows the page and does nothing.</summary>
    private static bool IsLink(HttpRequest request) => HttpMethods.IsGet(request.Method)
        && request.Headers["Sec-Fetch-Mode"] == "navigate" && request.Headers["Sec-Fetch-Dest"] == "document";

    private static ApiProblem Refused(string why) => new(StatusCodes.Status403Forbidden, why);
}
