using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Vmm.Tool;

/// <summary>Something that the API can do. The document of the API is made of these.</summary>
/// <param name="Method">The method.</param>
/// <param name="Path">The path; a segment in braces is the name of a device.</param>
/// <param name="Summary">For the document.</param>
/// <param name="Handle">Does it. <c>name</c> is what stands in the path's braces, or empty.</param>
internal sealed record ApiRoute(string Method, string Path, string Summary, Func<HttpContext, string, Task> Handle)
{
    private readonly string[] _segments = Path.Split('/');

    /// <summary>What the body of the request holds; null for none.</summary>
    internal JsonTypeInfo? Request { get; init; }

    /// <summary>What the body of the answer holds; null for none, or if it is described by <see cref="ContentType"/> alone.</summary>
    internal JsonTypeInfo? Response { get; init; }

    /// <summary>What the answer's body is; null for none.</summary>
    internal string? ContentType { get; init; } = "application/json";

    /// <summary>The status of an answer that says that it was done.</summary>
    internal int Status { get; init; } = StatusCodes.Status200OK;

    /// <summary>Whether it may be answered, with 202, by an operation that is running.</summary>
    internal bool TakesLong { get; init; }

    /// <summary>The other statuses that answer, each with a problem.</summary>
    internal int[] Problems { get; init; } = [];

    /// <summary>Whether it is for a path.</summary>
    /// <param name="path">The path of a request.</param>
    /// <param name="name">What stands in the braces.</param>
    internal bool Matches(string path, out string name)
    {
        name = "";
        string[] segments = path.Split('/');
        if (segments.Length != _segments.Length) return false;
        for (int i = 0; i < segments.Length; i++)
        {
            if (_segments[i].StartsWith('{') && segments[i].Length > 0) name = segments[i];
            else if (segments[i] != _segments[i]) return false;
        }
        return true;
    }
}
