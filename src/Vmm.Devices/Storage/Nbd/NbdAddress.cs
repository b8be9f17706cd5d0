using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace Vmm.Devices;

/// <summary>An export of an NBD server, as the document on NBD URIs names it.</summary>
internal sealed record NbdAddress : DiskAddress
{
    /// <summary>The port that IANA gave to NBD.</summary>
    private const int PortStandard = 10809;

    /// <summary>Longest name of an export (NBD protocol, "Values").</summary>
    private const int ExportBytesMax = 4096;

    /// <summary>The URI, for messages.</summary>
    internal required string Text { get; init; }

    /// <summary>The server's host; empty over a Unix socket.</summary>
    internal string Host { get; init; } = "";

    internal int Port { get; init; }

    /// <summary>The server's Unix socket; null over TCP.</summary>
    internal string? Socket { get; init; }

    internal string Export { get; init; } = "";

    /// <summary>What TLS is to check; null for a connection without it.</summary>
    internal NbdTls? Tls { get; init; }

    internal override bool IsRemote => true;

    /// <summary>What the C library reads to find a host by its name, and the libraries it loads for that.</summary>
    private static readonly string[] Resolver =
    [
        "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
    ];

    /// <summary>Where certificates of authorities and the configuration of OpenSSL are.</summary>
    private static readonly string[] Certificates = ["/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/usr/share/ca-certificates"];

    internal override IEnumerable<HostAccess> HostAccesses(bool readOnly) =>
    [
        Socket is null ? new(HostAccessKind.ConnectTcp, Port: Port) : new(HostAccessKind.Connect, Socket),
        .. Socket is null ? [new(HostAccessKind.Connect), .. Resolver.Select(Reads)] : (HostAccess[])[],
        .. Tls is null ? [] : Certificates.Select(Reads),
        .. Tls?.Folder is { } folder ? [Reads(folder)] : (HostAccess[])[],
        .. Socket is null || Tls is not null ? [new(HostAccessKind.Libraries)] : (HostAccess[])[],
    ];

    private static HostAccess Reads(string path) => new(HostAccessKind.Read, path);

    internal static new NbdAddress Parse(string text)
    {
        int schemeEnd = text.IndexOf("://", StringComparison.Ordinal);
        string scheme = text[..schemeEnd], rest = text[(schemeEnd + 3)..];
        if (rest.Contains('#', StringComparison.Ordinal)) throw Refused(text, "there is no fragment in an NBD URI: write %23 for a '#'");
        int question = rest.IndexOf('?', StringComparison.Ordinal);
        string query = question < 0 ? "" : rest[(question + 1)..];
        string before = question < 0 ? rest : rest[..question];
        int slash = before.IndexOf('/', StringComparison.Ordinal);
        string authority = slash < 0 ? before : before[..slash];
        string export = slash < 0 ? "" : Decoded(text, before[(slash + 1)..]);
        if (System.Text.Encoding.UTF8.GetByteCount(export) > ExportBytesMax)
            throw Refused(text, $"the export's name is longer than {ExportBytesMax} bytes");
        Dictionary<string, string> values = Query(text, query, "socket", "tls-type", "tls-hostname", "tls-verify-peer", "tls-certificates");
        bool isUnix = scheme.EndsWith("+unix", StringComparison.Ordinal), isSecure = scheme.StartsWith("nbds", StringComparison.Ordinal);
        string? socket = values.GetValueOrDefault("socket");
        if (isUnix && socket is null) throw Refused(text, "the server's socket is missing: add ?socket=PATH");
        if (isUnix && authority.Length > 0) throw Refused(text, $"a Unix socket has no host: write {scheme}:///EXPORT?socket=PATH");
        if (!isUnix && socket is not null) throw Refused(text, $"'socket' is for a Unix socket: write {scheme}+unix:///EXPORT?socket=PATH");
        (string host, int port) = isUnix ? ("", 0) : HostAndPort(text, authority);
        NbdTls? tls = TlsOf(text, values, isSecure, host);
        return new NbdAddress { Text = text, Host = host, Port = port, Socket = socket, Export = export, Tls = tls };
    }

    private static (string Host, int Port) HostAndPort(string text, string authority)
    {
        if (authority.Contains('@', StringComparison.Ordinal))
            throw Refused(text, "a user name is for TLS with pre-shared keys, which .NET has not: use X.509 certificates");
        int end = authority.StartsWith('[') ? authority.IndexOf(']', StringComparison.Ordinal) : -1;
        if (authority.StartsWith('[') && end < 0) throw Refused(text, "the ']' of the IPv6 address is missing");
        int colon = authority.IndexOf(':', end < 0 ? 0 : end);
        string host = Decoded(text, end > 0 ? authority[1..end] : colon < 0 ? authority : authority[..colon]);
        if (end > 0 && colon != end + 1 && authority.Length > end + 1)
            throw Refused(text, "write the port behind the IPv6 address as [ADDRESS]:PORT");
        if (end < 0 && colon >= 0 && authority.IndexOf(':', colon + 1) >= 0)
            throw Refused(text, "write an IPv6 address in brackets, as [::1]");
        if (host.Length == 0) throw Refused(text, "the host is missing: write nbd://HOST/EXPORT, or nbd+unix:///EXPORT?socket=PATH");
        if (Uri.CheckHostName(host) == UriHostNameType.Unknown) throw Refused(text, $"'{host}' is no name of a host");
        if (colon < 0 || colon == authority.Length - 1) return (host, PortStandard);
        return int.TryParse(authority[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out int port)
            && port is > 0 and <= ushort.MaxValue
            ? (host, port)
            : throw Refused(text, $"'{authority[(colon + 1)..]}' is no port: give a number from 1 to {ushort.MaxValue}");
    }

    private static NbdTls? TlsOf(string text, Dictionary<string, string> values, bool isSecure, string host)
    {
        if (values.Keys.FirstOrDefault(key => key.StartsWith("tls-", StringComparison.Ordinal)) is { } key && !isSecure)
            throw Refused(text, $"'{key}' is for TLS: write nbds:// or nbds+unix://");
        if (!isSecure) return null;
        switch (values.GetValueOrDefault("tls-type"))
        {
            case "psk":
                throw Refused(text, "TLS with pre-shared keys is not in .NET: give the server an X.509 certificate, and name its "
                    + "authority by tls-certificates=FOLDER");
            case "anon":
                throw Refused(text, "TLS without a certificate shows nothing of who answers, and is not in .NET: use X.509 certificates");
            case null or "x509" or "X509": break;
            case { } other: throw Refused(text, $"'tls-type={other}': there is x509");
        }
        bool verifies = values.GetValueOrDefault("tls-verify-peer") switch
        {
            null or "1" => true,
            "0" => false,
            { } other => throw Refused(text, $"'tls-verify-peer={other}': give 0 or 1"),
        };
        string name = values.GetValueOrDefault("tls-hostname") ?? host;
        if (verifies && name.Length == 0)
            throw Refused(text, "over a Unix socket the server's certificate is checked against a name: add tls-hostname=NAME");
        return new NbdTls(name, verifies, values.GetValueOrDefault("tls-certificates"));
    }
}

/// <summary>What TLS is to check, and what we show the server.</summary>
/// <param name="HostName">The name that the server's certificate has to be for.</param>
/// <param name="Verifies">Whether the server's certificate is checked.</param>
/// <param name="Folder">
/// Holds <c>ca-cert.pem</c>, the authority that signed the server's certificate, and, for a server that asks, <c>client-cert.pem</c> with
/// <c>client-key.pem</c>. Null: the host's authorities, and no certificate of ours.
/// </param>
internal sealed record NbdTls(string HostName, bool Verifies, string? Folder)
{
    private const string Authority = "ca-cert.pem", Certificate = "client-cert.pem", Key = "client-key.pem";

    /// <summary>What SslStream is given. The files are read anew for each connection, so that a renewed certificate is used.</summary>
    /// <exception cref="IOException">A file is missing or is no certificate.</exception>
    [SuppressMessage("Security", "CA5359:Do not disable certificate validation", Justification = "The URI asks for it: tls-verify-peer=0.")]
    internal SslClientAuthenticationOptions Options()
    {
        // What a server's certificate names is not fetched: it would choose where this host connects to.
        X509ChainPolicy policy = new() { RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true };
        SslClientAuthenticationOptions options = new() { TargetHost = HostName, CertificateChainPolicy = policy };
        if (!Verifies) options.RemoteCertificateValidationCallback = (_, _, _, _) => true;
        if (Folder is null) return options;
        try
        {
            string authority = Path.Combine(Folder, Authority);
            string certificate = Path.Combine(Folder, Certificate), key = Path.Combine(Folder, Key);
            policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            policy.CustomTrustStore.ImportFromPemFile(authority);
            if (policy.CustomTrustStore.Count == 0)
                throw new DiskImageException($"'{authority}' holds no certificate: put the PEM of the server's authority there");
            if (File.Exists(certificate))
                options.ClientCertificateContext = SslStreamCertificateContext.Create(
                    X509Certificate2.CreateFromPemFile(certificate, key), additionalCertificates: null, offline: true);
            return options;
        }
        catch (System.Security.Cryptography.CryptographicException wrong)
        {
            throw new DiskImageException($"the certificates in '{Folder}' cannot be used: {wrong.Message}");
        }
    }
}
