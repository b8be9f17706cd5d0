using System.CommandLine;
using System.Globalization;
using System.Net;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>Where the control API listens.</summary>
/// <param name="Socket">A Unix socket; null for none.</param>
/// <param name="Tls">An address of a network; null for none.</param>
internal sealed record ApiPlaces(string? Socket, ApiTls? Tls);

/// <summary>Where it listens over TLS, and who may connect.</summary>
/// <param name="Address">The address and port.</param>
/// <param name="Certificate">The file of its certificate, with those of the authorities between it and a root.</param>
/// <param name="Key">The file of the certificate's key.</param>
/// <param name="Clients">The file of the authorities that certify clients; null if clients need no certificate.</param>
/// <param name="Token">The file of the token that clients send; null if they need none.</param>
internal sealed record ApiTls(IPEndPoint Address, string Certificate, string Key, string? Clients, string? Token);

/// <summary>
/// <c>--api</c> and <c>--api-tls</c>: where the control API listens, and who may connect. Without them nothing listens, and nothing of it
/// is loaded.
/// </summary>
internal sealed class ApiOptions
{
    internal const string SocketName = "--api";

    private readonly ApiOption _socket = new();

    private readonly TextOption _tls = new("--api-tls", "ADDRESS:PORT",
        "Listen at an address of a network too, over TLS, for clients with a certificate or a token.", text => AddressOf(text) is null
            ? "give an address and a port, such as 127.0.0.1:8443 or [::]:8443" : null);

    private readonly TextOption _certificate = new("--api-cert", "FILE", "With --api-tls: the certificate, in PEM.");

    private readonly TextOption _key = new("--api-key", "FILE", "With --api-tls: the certificate's key, in PEM.");

    private readonly TextOption _clients = new("--api-clients", "FILE",
        "With --api-tls: the authorities whose clients may connect, in PEM. Other clients are sent away.");

    private readonly TextOption _token = new("--api-token", "FILE",
        "With --api-tls: a file with the token that clients send, which only its owner may read.");

    internal void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_socket, _tls, _certificate, _key, _clients, _token]) command.Options.Add(option);
    }

    /// <summary>Where it listens; null for nowhere.</summary>
    internal ApiPlaces? In(ParseResult parsed)
    {
        string? socket = parsed.GetValue(_socket);
        ApiTls? tls = parsed.GetValue(_tls) is { } address && AddressOf(address) is { } end
            && parsed.GetValue(_certificate) is { } certificate && parsed.GetValue(_key) is { } key
                ? new ApiTls(end, certificate, key, parsed.GetValue(_clients), parsed.GetValue(_token)) : null;
        return socket is null && tls is null ? null : new ApiPlaces(socket, tls);
    }

    /// <summary>What does not fit together, each in a sentence.</summary>
    internal IEnumerable<string> Contradictions(ParseResult parsed)
    {
        bool Has(TextOption option) => parsed.GetValue(option) is not null;
        if (!Has(_tls))
        {
            foreach (TextOption option in (TextOption[])[_certificate, _key, _clients, _token])
            {
                if (Has(option)) yield return $"{option.Name} without --api-tls: say where to listen";
            }
            yield break;
        }
        if (!Has(_certificate) || !Has(_key)) yield return "--api-tls needs a certificate and its key: give --api-cert and --api-key";
        if (!Has(_clients) && !Has(_token))
            yield return "--api-tls is open to everyone who reaches it: give --api-clients, or --api-token, or both";
    }

    /// <summary>What of the host it opens.</summary>
    internal IEnumerable<HostAccess> HostAccesses(ParseResult parsed)
    {
        if (In(parsed) is not { } places) yield break;
        if (places.Socket is { } socket) yield return new HostAccess(HostAccessKind.Listen, socket);
        if (places.Tls is not { } tls) yield break;
        yield return new HostAccess(HostAccessKind.ListenTcp, Port: tls.Address.Port);
        foreach (string? file in (string?[])[tls.Certificate, tls.Key, tls.Clients, tls.Token])
        {
            if (file is not null) yield return new HostAccess(HostAccessKind.Read, file);
        }
        // OpenSSL is loaded when the certificate is read, with its own configuration.
        foreach (string folder in (string[])["/etc/ssl", "/usr/lib/ssl"]) yield return new HostAccess(HostAccessKind.Read, folder);
        yield return new HostAccess(HostAccessKind.Libraries);
    }

    /// <summary>The parser also takes an address without a port, and 127.1 for 127.0.0.1.</summary>
    private static IPEndPoint? AddressOf(string text) => IPEndPoint.TryParse(text, out IPEndPoint? end)
        && text.EndsWith(string.Create(CultureInfo.InvariantCulture, $":{end.Port}"), StringComparison.Ordinal)
        && (text[0] == '[' || text == end.ToString()) ? end : null;

    /// <summary><c>--api</c>.</summary>
    private sealed class ApiOption() : TextOption(SocketName, "SOCKET",
        "Listen at a Unix socket for 'vmm ctl', monitoring and other programs of this user, over HTTP.", Judge)
    {
        private static string? Judge(string text) => IsAddress(text)
            ? "this is for a Unix socket: give a path; --api-tls takes an address" : LocalListener.Failure(text);

        /// <summary>Whether it looks like <c>127.0.0.1:8080</c>, <c>:8080</c> or <c>http://…</c>.</summary>
        private static bool IsAddress(string text)
        {
            if (text.Contains("://", StringComparison.Ordinal)) return true;
            int colon = text.LastIndexOf(':');
            return colon >= 0 && !text.Contains('/', StringComparison.Ordinal) && text.Length > colon + 1
                && text.AsSpan(colon + 1).IndexOfAnyExceptInRange('0', '9') < 0;
        }
    }
}
