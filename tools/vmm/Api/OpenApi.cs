using System.Globalization;
using System.Reflection;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.WebUtilities;

namespace Vmm.Tool;

/// <summary>The document of the API (OpenAPI 3.1), made of its routes and of the types of their bodies.</summary>
internal static class OpenApi
{
    /// <summary>What any request may be answered: too large, too slow, or the machine does not answer.</summary>
    private static readonly int[] Always = [500, 503];

    internal static byte[] Of(IReadOnlyList<ApiRoute> routes)
    {
        SortedDictionary<string, JsonTypeInfo> schemas = new(StringComparer.Ordinal);
        using MemoryStream text = new();
        JsonWriterOptions options = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (Utf8JsonWriter json = new(text, options))
        {
            json.WriteStartObject();
            json.WriteString("openapi", "3.1.0");
            json.WriteStartObject("info");
            json.WriteString("title", "The control API of vmm");
            json.WriteString("description",
                "Looks at devices and machines while they run, and changes them. It listens at the Unix socket that --api names.");
            json.WriteString("version", "1");
            json.WriteEndObject();
            json.WriteStartObject("paths");
            foreach (IGrouping<string, ApiRoute> path in routes.GroupBy(route => route.Path))
            {
                json.WriteStartObject(path.Key);
                foreach (ApiRoute route in path) Write(json, route, schemas);
                json.WriteEndObject();
            }
            json.WriteEndObject();
            json.WriteStartObject("components");
            json.WriteStartObject("schemas");
            foreach ((string name, JsonTypeInfo type) in schemas)
            {
                json.WritePropertyName(name);
                SchemaOf(type).WriteTo(json);
            }
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return [.. text.ToArray(), (byte)'\n'];
    }

    private static void Write(Utf8JsonWriter json, ApiRoute route, SortedDictionary<string, JsonTypeInfo> schemas)
    {
        json.WriteStartObject(route.Method.ToLowerInvariant());
        json.WriteString("summary", route.Summary);
        if (route.Path.Contains('{', StringComparison.Ordinal))
        {
            json.WriteStartArray("parameters");
            json.WriteStartObject();
            json.WriteString("name", "name");
            json.WriteString("in", "path");
            json.WriteBoolean("required", true);
            json.WriteStartObject("schema");
            json.WriteString("type", "string");
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndArray();
        }
        if (route.Request is { } request)
        {
            json.WriteStartObject("requestBody");
            json.WriteBoolean("required", true);
            Content(json, "application/json", request, schemas);
            json.WriteEndObject();
        }
        json.WriteStartObject("responses");
        Response(json, route.Status, route.ContentType, route.Response, schemas);
        if (route.TakesLong) Response(json, 202, "application/json", ApiJson.Readable.OperationView, schemas);
        foreach (int status in route.Problems.Concat(Always).Distinct().Order())
            Response(json, status, "application/problem+json", ApiJson.Readable.ProblemView, schemas);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void Response(Utf8JsonWriter json, int status, string? contentType, JsonTypeInfo? type,
        SortedDictionary<string, JsonTypeInfo> schemas)
    {
        json.WriteStartObject(status.ToString(CultureInfo.InvariantCulture));
        json.WriteString("description", ReasonPhrases.GetReasonPhrase(status));
        if (contentType is not null) Content(json, contentType, type, schemas);
        json.WriteEndObject();
    }

    private static void Content(Utf8JsonWriter json, string contentType, JsonTypeInfo? type, SortedDictionary<string, JsonTypeInfo> schemas)
    {
        json.WriteStartObject("content");
        json.WriteStartObject(contentType);
        if (type is not null)
        {
            schemas[NameOf(type)] = type;
            json.WriteStartObject("schema");
            json.WriteString("$ref", $"#/components/schemas/{NameOf(type)}");
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static string NameOf(JsonTypeInfo type) => type.Type.Name;

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
