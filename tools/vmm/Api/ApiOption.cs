using System.CommandLine;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>--api</c>: where the control API listens. Without it nothing listens, and nothing of it is loaded.</summary>
internal sealed class ApiOption : TextOption
{
    internal ApiOption() : base("--api", "SOCKET",
        "Listen at a Unix socket for 'vmm ctl', monitoring and other programs of this user, over HTTP.", Judge)
    {
    }

    /// <summary>What of the host it opens: its socket.</summary>
    internal IEnumerable<HostAccess> HostAccesses(ParseResult parsed) =>
        parsed.GetValue(this) is { } socket ? [new HostAccess(HostAccessKind.Listen, socket)] : [];

    private static string? Judge(string text) => IsAddress(text)
        ? "the API listens at Unix sockets only: give a path, and reach it from elsewhere by 'ssh -L PORT:SOCKET HOST'"
        : LocalListener.Failure(text);

    /// <summary>Whether it looks like <c>127.0.0.1:8080</c>, <c>:8080</c> or <c>http://…</c>.</summary>
    private static bool IsAddress(string text)
    {
        if (text.Contains("://", StringComparison.Ordinal)) return true;
        int colon = text.LastIndexOf(':');
        return colon >= 0 && !text.Contains('/', StringComparison.Ordinal) && text.Length > colon + 1
            && text.AsSpan(colon + 1).IndexOfAnyExceptInRange('0', '9') < 0;
    }
}
