using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using Vmm.Devices.Sandbox;

namespace Vmm.Tool;

/// <summary>Finds the route of a request, and answers with a problem where there is none or it fails.</summary>
/// <param name="routes">What it can do.</param>
/// <param name="gate">Who may, over a network; null without one.</param>
/// <param name="log">Gets its bugs.</param>
internal sealed class ApiApplication(ApiRoutes routes, ApiGate? gate, ILogger log) : IHttpApplication<HttpContext>
{
    private readonly IReadOnlyList<ApiRoute> _routes = routes.All;

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext context)
    {
        // Each request comes by a connection that the broker has looked at.
        if (HostBroker.IsThere) context.Response.Headers.Connection = "close";
        try
        {
            gate?.Check(context);
            await Handle(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client is gone.
        }
        catch (Exception exception)
        {
            if (ApiProblem.IsBug(exception)) log.LogError(exception, "the API failed on {Method} {Path}",
                Printable.Of(context.Request.Method), Printable.Of(context.Request.Path.Value ?? ""));
            if (context.Response.HasStarted) context.Abort();
            else await ApiRoutes.Say(context, ApiProblem.Of(exception));
        }
    }

    private Task Handle(HttpContext context)
    {
        BrowserGuard.Check(context.Request);
        if (WebPage.TryServe(context) is { } served) return served;
        string path = context.Request.Path.Value ?? "", method = context.Request.Method;
        List<string> allowed = [];
        foreach (ApiRoute route in _routes)
        {
            if (!route.Matches(path, out string name)) continue;
            if (route.Method == method) return route.Handle(context, name);
            allowed.Add(route.Method);
        }
        if (allowed.Count == 0)
            throw new ApiProblem(StatusCodes.Status404NotFound, "there is nothing at this path: GET /v1/openapi.json lists what there is");
        context.Response.Headers.Allow = string.Join(", ", allowed);
        throw new ApiProblem(StatusCodes.Status405MethodNotAllowed, $"this path takes {string.Join(", ", allowed)}");
    }
}
