using System.Globalization;
using System.Reflection;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.WebUtilities;

namespace Vmm.Tool;

/// <summary>The document of the API (OpenAPI 3.1), made of its routes and of the types of their bodies.</summary>
internal static class OpenApi
{
    private const string Json = "application/json";

    /// <summary>What any request may be answered: too large, too slow, or the machine does not answer.</summary>
    private static readonly int[] Always = [500, 503];

    internal static byte[] Of(IReadOnlyList<ApiRoute> routes)
    {
        SortedDictionary<string, JsonTypeInfo> schemas = new(StringComparer.Ordinal);
        JsonObject paths = [];
        foreach (IGrouping<string, ApiRoute> path in routes.GroupBy(route => route.Path))
            paths[path.Key] = JsonText.ObjectOf(path.Select(route => (route.Method.ToLowerInvariant(), (JsonNode)Of(route, schemas))));
        return JsonText.Of(new JsonObject
        {
            ["openapi"] = "3.1.0",
            ["info"] = new JsonObject
            {
                ["title"] = "The control API of vmm",
                ["description"] =
                    "Looks at devices and machines while they run, and changes them. It listens at the Unix socket that --api names.",
                ["version"] = "1",
            },
            ["paths"] = paths,
            ["components"] = new JsonObject
            {
                ["schemas"] = JsonText.ObjectOf(schemas.Select(schema => (schema.Key, SchemaOf(schema.Value)))),
            },
        });
    }

    private static JsonObject Of(ApiRoute route, SortedDictionary<string, JsonTypeInfo> schemas)
    {
        JsonObject operation = new() { ["summary"] = route.Summary };
        if (route.Path.Contains('{', StringComparison.Ordinal))
        {
            operation["parameters"] = new JsonArray(new JsonObject
            {
                ["name"] = "name",
                ["in"] = "path",
                ["required"] = true,
                ["schema"] = new JsonObject { ["type"] = "string" },
            });
        }
        if (route.Request is { } request)
            operation["requestBody"] = new JsonObject { ["required"] = true, ["content"] = Content(Json, request) };
        JsonObject responses = [];
        Answer(route.Status, route.ContentType, route.Response);
        if (route.TakesLong) Answer(202, Json, ApiJson.Readable.OperationView);
        foreach (int status in route.Problems.Concat(Always).Distinct().Order())
            Answer(status, "application/problem+json", ApiJson.Readable.ProblemView);
        operation["responses"] = responses;
        return operation;

        void Answer(int status, string? contentType, JsonTypeInfo? type)
        {
            JsonObject answer = new() { ["description"] = ReasonPhrases.GetReasonPhrase(status) };
            if (contentType is not null) answer["content"] = Content(contentType, type);
            responses[status.ToString(CultureInfo.InvariantCulture)] = answer;
        }

        JsonObject Content(string contentType, JsonTypeInfo? type)
        {
            JsonObject body = [];
            if (type is not null)
            {
                string name = type.Type.Name;
                schemas[name] = type;
                body["schema"] = new JsonObject { ["$ref"] = $"#/components/schemas/{name}" };
            }
            return new JsonObject { [contentType] = body };
        }
    }

    private static JsonNode SchemaOf(JsonTypeInfo type) => type.GetJsonSchemaAsNode(new JsonSchemaExporterOptions
    {
        TreatNullObliviousAsNonNullable = true,
        TransformSchemaNode = static (context, schema) =>
        {
            if (schema is JsonObject described && context.PropertyInfo?.AttributeProvider is { } attributes
                && attributes.GetCustomAttributes(typeof(System.ComponentModel.DescriptionAttribute), inherit: false)
                    is [System.ComponentModel.DescriptionAttribute description, ..])
                described.Insert(0, "description", description.Description);
            return schema;
        },
    });
}
