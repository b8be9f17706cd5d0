using System.Collections.Frozen;
using System.Reflection;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Vmm.Tool;

/// <summary>The page at <c>/</c>: files of <c>tools/vmm/Web</c>, which are part of the program. They name no other host.</summary>
internal static class WebPage
{
    /// <summary>
    /// What the page may do: load its own files and talk to this server. No script or style stands in a text, so none that slips in runs.
    /// The hash is that of no text at all: the terminal makes style elements, whose text <c>console.js</c> puts elsewhere.
    /// </summary>
    private const string Policy = "default-src 'none'; script-src 'self'; "
        + "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; img-src 'self'; connect-src 'self'; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private const string ResourcePrefix = "web/", Index = "index.html";

    private static readonly FrozenDictionary<string, string> Types = new Dictionary<string, string>
    {
        [".html"] = "text/html; charset=utf-8",
        [".css"] = "text/css; charset=utf-8",
        [".js"] = "text/javascript; charset=utf-8",
        [".mjs"] = "text/javascript; charset=utf-8",
        [".svg"] = "image/svg+xml",
        [".txt"] = "text/plain; charset=utf-8",
    }.ToFrozenDictionary();

    private static readonly FrozenDictionary<string, Lazy<WebFile>> Files = Assembly.GetExecutingAssembly().GetManifestResourceNames()
        .Where(name => name.StartsWith(ResourcePrefix, StringComparison.Ordinal))
        .ToFrozenDictionary(name => "/" + name[ResourcePrefix.Length..], name => new Lazy<WebFile>(() => new WebFile(name)));

    /// <summary>Answers with a file of the page.</summary>
    /// <returns>Null if the request is for something else.</returns>
    internal static Task? TryServe(HttpContext context)
    {
        string path = context.Request.Path.Value ?? "";
        if (!Files.TryGetValue(path == "/" ? "/" + Index : path, out Lazy<WebFile>? found)) return null;
        if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method)) return null;
        WebFile file = found.Value;
        IHeaderDictionary headers = context.Response.Headers;
        headers.ETag = file.Tag;
        // Asked for again each time, and sent again only if this is another version.
        headers.CacheControl = "no-cache";
        headers.ContentSecurityPolicy = Policy;
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        if (context.Request.GetTypedHeaders().IfNoneMatch.Any(tag => tag.Compare(file.EntityTag, useStrongComparison: false)))
        {
            context.Response.StatusCode = StatusCodes.Status304NotModified;
            return Task.CompletedTask;
        }
        context.Response.ContentType = file.Type;
        context.Response.ContentLength = file.Bytes.Length;
        return HttpMethods.IsHead(context.Request.Method)
            ? Task.CompletedTask : context.Response.Body.WriteAsync(file.Bytes, context.RequestAborted).AsTask();
    }

    private sealed class WebFile
    {
        internal WebFile(string resource)
        {
            using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource)!;
            Bytes = new byte[stream.Length];
            stream.ReadExactly(Bytes);
            Type = Types[Path.GetExtension(resource)];
            Tag = $"\"{Convert.ToHexStringLower(WebSocketHandshake.Sha1(Bytes))}\"";
            EntityTag = new EntityTagHeaderValue(Tag);
        }

        internal byte[] Bytes { get; }

        internal string Type { get; }

        internal string Tag { get; }

        internal EntityTagHeaderValue EntityTag { get; }
    }
}
