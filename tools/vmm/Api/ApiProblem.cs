using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A request that is not carried out. The message is a sentence that says what to do.</summary>
internal sealed class ApiProblem(int status, string detail) : Exception(detail)
{
    internal int Status => status;

    /// <summary>What an exception means for the client.</summary>
    internal static ApiProblem Of(Exception exception) => exception switch
    {
        ApiProblem problem => problem,
        BadHttpRequestException bad => new ApiProblem(bad.StatusCode, bad.Message),
        JsonException json => new ApiProblem(StatusCodes.Status400BadRequest,
            $"the body makes no sense at '{json.Path ?? "$"}': GET /v1/openapi.json says what it may hold"),
        TimeoutException => new ApiProblem(StatusCodes.Status503ServiceUnavailable,
            $"{exception.Message}: try again later, and look for storage that hangs"),
        ReactorStoppedException or ObjectDisposedException =>
            new ApiProblem(StatusCodes.Status503ServiceUnavailable, "the machine is stopping: it takes no more requests"),
        NotSupportedException => new ApiProblem(StatusCodes.Status409Conflict, exception.Message),
        ArgumentException => new ApiProblem(StatusCodes.Status422UnprocessableEntity, exception.Message),
        IOException => new ApiProblem(StatusCodes.Status500InternalServerError, exception.Message),
        _ => new ApiProblem(StatusCodes.Status500InternalServerError,
            $"a fault of vmm itself, {exception.GetType().Name}: its log has the trace; please report it"),
    };

    /// <summary>Whether an exception is a mistake in this program, whose trace is what we need.</summary>
    internal static bool IsBug(Exception exception) => exception is not (ApiProblem or BadHttpRequestException or JsonException
        or TimeoutException or ReactorStoppedException or ObjectDisposedException or NotSupportedException or ArgumentException
        or IOException);

    internal ProblemView View => new() { Status = status, Title = ReasonPhrases.GetReasonPhrase(status), Detail = Message };
}
